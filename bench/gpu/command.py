"""The command line: python -m bench.gpu [--device cuda|cpu] [--minutes 10] [-o OUT]."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.requirements import TO_MEASURE, how_to_get, missing
from bench.gpu.running import CUT_OFF, DONE, FAILED, LEFT_OUT, Outcome, Steps, code_digest
from bench.gpu.steps import PRESETS as DEFAULT_PRESETS
from bench.gpu.steps import Step, steps
from bench.gpu.table import lines

FAULTY, MISTAKE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that are not done yet, and print the table; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if lacking := missing(TO_MEASURE):
        parser.error(f"{', '.join(lacking)} not installed; {how_to_get(lacking)}")
    from bench.presets import PRESETS
    from bench.timing.modes import available_devices  # torch is known to be there by now

    if options.device not in available_devices():
        parser.error(f"unknown device {options.device!r}; on this machine there are: {', '.join(available_devices())}")
    preset = options.preset or DEFAULT_PRESETS[options.device]
    if preset not in PRESETS:
        parser.error(f"unknown preset {preset!r}; there are: {', '.join(PRESETS)}")
    folder = options.output.absolute()
    planned = steps(options.device, preset, folder)
    names = [step.name for step in planned]
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"unknown step {unknown[0]!r}; there are: {', '.join(names)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = Steps(folder, code_digest())
    except (OSError, ValueError) as error:
        parser.error(f"{folder}: cannot be used: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a step's program is ended with this one
    chosen = [step for step in planned if not options.only or step.name in options.only]
    try:
        outcomes = run(chosen, known, 60 * options.minutes)
    except KeyboardInterrupt:
        print("\ngpu: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    print()
    for line in lines(folder):
        print(line)
    print(f"\nJSON files, logs and the report are in {options.output}.")
    return FAULTY if any(outcome.status == FAILED for outcome in outcomes) else 0


def run(planned: Sequence[Step], known: Steps, seconds: float) -> list[Outcome]:
    """Run steps one after the other; what one leaves of its time is that of those after it."""
    end = time.monotonic() + seconds
    outcomes = []
    for place, step in enumerate(planned):
        print(f"[{place + 1}/{len(planned)}] {step.name}: {step.title} ... ", end="", flush=True)
        outcome = _outcome(step, planned[place:], known, end - time.monotonic())
        print(_words(outcome), flush=True)
        outcomes.append(outcome)
    return outcomes


def _outcome(step: Step, left: Sequence[Step], known: Steps, seconds: float) -> Outcome:
    if step.obstacle is not None:
        return Outcome(LEFT_OUT, said=step.obstacle)
    if known.is_done(step):
        return Outcome(DONE, said="by an earlier run")
    weights = sum(each.weight for each in left if each.obstacle is None and not known.is_done(each))
    limit_s = seconds * step.weight / max(weights, step.weight)
    if limit_s < step.least_s:
        return Outcome(
            LEFT_OUT, said=f"its share of the time is {max(limit_s, 0):.0f} s, it needs {step.least_s:.0f} s"
        )
    return known.run(step, limit_s)


def _words(outcome: Outcome) -> str:
    seconds = f" in {outcome.seconds:.0f} s" if outcome.seconds else ""
    return f"{outcome.status}{seconds}{f': {outcome.said}' if outcome.said else ''}"


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e4:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 10,000")
    return value


_minutes.__name__ = "number"  # as argparse calls it


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description="Measure on a machine with a GPU, within some minutes and without installing anything; the same "
        "command goes on with what is not done.",
        epilog=f"Exit codes: 0 every step is {DONE}, {LEFT_OUT} or {CUT_OFF}, which is said; 1 a step {FAILED}; 2 "
        "wrong usage; 130 interrupted.",
    )
    add = parser.add_argument
    add("--device", default="cuda", metavar="DEVICE", help="cuda or cpu (cuda)")
    add("--minutes", type=_minutes, default=10.0, metavar="MINUTES", help="for all steps together (10)")
    add("--preset", metavar="PRESET", help="of the paper's table (cuda: paper, cpu: quick)")
    add("--only", nargs="+", default=[], metavar="STEP", help="some of the steps (all)")
    add("-o", "--output", type=Path, default=Path("build/gpu"), metavar="OUT", help="folder of results (%(default)s)")
    return parser
