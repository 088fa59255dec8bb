"""Do the intervals hold what they claim? Fresh runs of the same benchmarks, and how often their intervals are right.

    python -m bench.coverage --runs 8 -o build/coverage.json

Each run starts its own processes, as `pytest bench` does. A run's interval of a router is right where it holds the
geometric mean of the ratios that the other runs have found; the interval of the baseline against itself is right where
it holds 1. The results of finished runs are kept in a journal beside the output; the same command goes on with them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from scipy.special import stdtr, stdtrit

from bench.case import Case
from bench.presets import PRESETS, Preset, get_preset
from bench.record.journal import Journal, JournalError, Unkept
from bench.record.machine import conditions, describe_machine
from bench.repetition.process import ProcessDiedError, RepetitionProcess
from bench.router.inputs import INPUTS, Inputs
from bench.router.scenarios import get_router_scenario
from bench.router.suite import RouterSuite
from bench.run import Run
from bench.scenario import list_scenarios
from bench.session import source_digest
from bench.timing.context import MeasurementContext
from bench.timing.group import Group
from bench.timing.interleave import threads
from bench.timing.intervals import CONFIDENCE, Interval
from harness.assets.errors import AssetError
from harness.assets.files import replace_file
from harness.command_line import most_threads
from harness.progress import progress_bar
from routers import list_routers

Result = dict[str, dict[str, Any]]
"""Group -> router -> the ratio's estimate, low and high; the twin's is the baseline against itself."""


def measure(preset: Preset, scenario: str, inputs: Inputs, num_threads: int) -> Result:
    """One fresh run of a scenario on all inputs that it is timed on, with every router."""
    context = MeasurementContext(Unkept(), progress_bar, inputs.device, num_threads)
    suite = RouterSuite(inputs, context)
    for name in get_router_scenario(scenario).parameters(preset)["input_name"]:
        for router in list_routers():
            suite.plan(Case(scenario, router, name))
    Run(preset, context, [suite]).measure(lambda plan, folder: RepetitionProcess(folder))
    return {key: _ratios(group) for key, group in context.groups.items()}


def _ratios(group: Group[Any]) -> dict[str, Any]:
    others = [name for name in group.timed if name != group.spec.baseline]
    return {name: Interval.of_ratios(group.ratios(name)).as_dict() for name in others}


def evaluate(runs: Sequence[Result], twin: str) -> dict[str, dict[str, Any]]:
    """How often the intervals are right, by group.

    Args:
        runs: at least two, of the same benchmarks.
        twin: the router whose ratio is that of the baseline to itself.

    Returns:
        group -> {"cases", "held"} of the routers, {"self_comparisons", "missed"} of the twin, and by router the number
        "held" of its runs and the "spread" of their ratios, the standard deviation of their logarithms.
    """
    found = {}
    for key in runs[0]:
        routers = {}
        for name in dict.fromkeys(name for run in runs for name in run[key]):
            ratios = [run[key][name] for run in runs if name in run[key]]
            if name != twin and len(ratios) > 1:
                routers[name] = _held(ratios)
        twins = [run[key][twin] for run in runs if twin in run[key]]
        found[key] = {
            "cases": sum(each["runs"] for each in routers.values()),
            "held": sum(each["held"] for each in routers.values()),
            "self_comparisons": len(twins),
            "missed": sum(not each["low"] <= 1 <= each["high"] for each in twins),
            "routers": routers,
        }
    return found


def _held(ratios: Sequence[dict[str, float]]) -> dict[str, Any]:
    held = 0
    for place, ratio in enumerate(ratios):
        others = geometric_mean([other["estimate"] for at, other in enumerate(ratios) if at != place])
        held += ratio["low"] <= others <= ratio["high"]
    estimates = torch.tensor([ratio["estimate"] for ratio in ratios], dtype=torch.float64)
    return {"runs": len(ratios), "held": held, "spread": float(estimates.log().std())}


def expected_share(runs: int, processes: int) -> float:
    """How many of intervals that are right hold the mean of the other runs: it is an estimate too, and varies."""
    freedom = processes - 1
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) / math.sqrt(1 + 1 / (runs - 1))
    return 1 - 2 * float(stdtr(freedom, -reach))


def _lines(found: dict[str, dict[str, Any]], expected: float) -> list[str]:
    lines = []
    for key, group in found.items():
        lines.append(
            f"{key}: {group['held']} of {group['cases']} intervals hold the mean of the other runs; "
            f"{group['missed']} of {group['self_comparisons']} self-comparisons miss 1"
        )
    totals = {field: sum(group[field] for group in found.values()) for field in ("held", "cases", "missed")}
    alone = sum(group["self_comparisons"] for group in found.values())
    lines.append(
        f"all: {totals['held']} of {totals['cases']} ({100 * totals['held'] / max(totals['cases'], 1):.1f} %, "
        f"{100 * expected:.1f} % expected); "
        f"{totals['missed']} of {alone} self-comparisons miss 1 ({100 * totals['missed'] / max(alone, 1):.1f} %)"
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 2 with a line of what is wrong, or 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.coverage", description="how often a run's intervals are right"
    )
    parser.add_argument("--runs", type=int, default=8, help="fresh runs, at least 2 (8)")
    parser.add_argument("--preset", default="quick", choices=list(PRESETS), help="sizes and amounts (quick)")
    parser.add_argument("--scenario", default="router", help="of the routers by themselves (router)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads while something is timed (1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/coverage.json"), help="(build/coverage.json)")
    options = parser.parse_args(arguments)
    if options.runs < 2 or options.threads < 1:
        parser.error(f"--runs {options.runs} --threads {options.threads}: expected at least 2 and 1")
    if complaint := _complaint(options):
        print(f"bench.coverage: {complaint}", file=sys.stderr)
        return 2
    try:
        found = _run(options)
    except (AssetError, JournalError, ProcessDiedError, OSError) as error:
        print(f"bench.coverage: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench.coverage: interrupted; the same command goes on", file=sys.stderr)
        return 130
    expected = expected_share(options.runs, get_preset(options.preset).repetitions)
    print("\n".join(_lines(found, expected)))
    return 0


def _complaint(options: argparse.Namespace) -> str | None:
    """What would cost the whole run if it were found at its end, or None."""
    scenarios = list_scenarios(RouterSuite.subject)
    if options.scenario not in scenarios:
        return f"--scenario {options.scenario!r}: no scenario of the routers by themselves: {', '.join(scenarios)}"
    if options.threads > most_threads():
        return f"--threads {options.threads}: expected at most {most_threads()}"
    if options.output.is_dir() or not options.output.name:
        return f"-o {options.output}: expected a file, this is a folder"
    return None


def _run(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    preset, path = get_preset(options.preset), options.output
    configuration = {name: getattr(options, name) for name in ("preset", "scenario", "threads")}
    configuration |= {"code": source_digest(Path(__file__).parents[1]), "inputs": list(INPUTS)}
    journal_path = path.with_name(f"{path.name}.journal")
    inputs = Inputs(preset, "cpu")
    with Journal(journal_path, configuration, resume=True) as journal:
        runs: list[Result] = []
        for index in range(options.runs):
            kept = journal.get(f"run {index}")
            if kept is None:
                print(f"run {index + 1} of {options.runs}", file=sys.stderr)
                kept = measure(preset, options.scenario, inputs, options.threads)
                journal.append(f"run {index}", kept)
            runs.append(kept)
        found = evaluate(runs, RouterSuite.twin)
        with threads(options.threads):
            machine = describe_machine()
        document = {"options": configuration, "machine": machine, "conditions": conditions(), "runs": runs}
        replace_file(path, json.dumps(document | {"found": found}, indent=1).encode())
        journal.finish()
    return found


if __name__ == "__main__":
    sys.exit(main())
