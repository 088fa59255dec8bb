"""The facts of both revisions before anything is timed: their benchmarks, and what these count and compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.case import Case
from bench.gate.errors import GateError, NothingToCompareError, one_line
from bench.gate.result_store import ResultStore
from bench.gate.revisions.process import BASE, HEAD, TWIN, StartWorker, WorkerProcess, ask_all
from bench.gate.worker import PROTOCOL

LONGEST_CHECK = 1000
"""Characters of what a check says that go into the result."""

Invariants = dict[tuple[str, str], float | None]
"""(benchmark, name of a count or metric) -> value."""


@dataclass(frozen=True)
class RevisionFacts:
    """What is known of both revisions before anything is timed.

    Attributes:
        benchmarks: those that both revisions have, in base's order.
        added: only head has them.
        removed: only base has them.
        failures: benchmark -> which side failed its check, and how; for those that fail on one side or both.
        one_sided: those of them that fail on one side alone.
        timed: those to time.
        invariants: side -> the values that must not move between the revisions.
        folders: side -> where its fresh processes find inputs and experts.
    """

    benchmarks: list[str]
    added: list[str]
    removed: list[str]
    failures: dict[str, str]
    one_sided: set[str]
    timed: list[str]
    invariants: dict[str, Invariants]
    folders: dict[str, Path]


NO_FACTS = RevisionFacts([], [], [], {}, set(), [], {BASE: {}, HEAD: {}}, {})


def gather_facts(start: StartWorker, checkouts: Mapping[str, Path], folder: Path, store: ResultStore) -> RevisionFacts:
    """Ask both revisions, both at once: nothing is timed here.

    Args:
        start: starts a worker for a side.
        checkouts: side -> its checkout.
        folder: where inputs and experts are stored.
        store: keeps what the revisions said; their inputs are made again in every run.

    Raises:
        NothingToCompareError: no benchmark in common.
        GateError: a worker of another protocol, or one that imports another checkout's code.
        WorkerError: a worker that failed.
    """
    folders = {side: folder / side for side in (BASE, HEAD)}
    with ExitStack() as stack:
        workers = {side: stack.enter_context(start(side)) for side in (BASE, HEAD)}
        revisions = {side: worker.name for side, worker in workers.items()}
        found = ask_all(workers, "collect", lambda side: {})
        for side, answer in found.items():
            _check_worker(revisions[side], answer, checkouts[side])
        base, head = (found[side]["benchmarks"] for side in (BASE, HEAD))
        both = [name for name in base if name in set(head)]
        if not both:
            raise NothingToCompareError(
                f"{revisions[BASE]} has {len(base)} selected benchmarks, "
                f"{revisions[HEAD]} has {len(head)}, none in common"
            )
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        shapes = ask_all(workers, "prepare", lambda side: {"benchmarks": both, "folder": str(folders[side])})
        said = store.get("facts")
        if said is None:
            said = _ask_facts(workers, both)
            store.append("facts", said)
    failures, one_sided = _failures(said, revisions)
    return RevisionFacts(
        benchmarks=both,
        added=[name for name in head if name not in set(base)],
        removed=[name for name in base if name not in set(head)],
        failures=failures,
        one_sided=one_sided,
        timed=_one_of_each_shape([name for name in both if name not in failures], shapes),
        invariants={side: read_invariants(answer["figures"]) for side, answer in said.items()},
        folders=folders | {TWIN: folders[BASE]},
    )


def _ask_facts(workers: Mapping[str, WorkerProcess], benchmarks: Sequence[str]) -> dict[str, Any]:
    """By router and input, so that the limit of an answer is that of one router, however slow its revision is."""
    said: dict[str, Any] = {side: {"checks": {}, "figures": []} for side in workers}
    for group in _by_input_and_router(benchmarks):
        request: dict[str, Any] = {"benchmarks": group}
        for side, answer in ask_all(workers, "facts", partial(_for_any_side, request)).items():
            said[side]["checks"] |= answer["checks"]
            said[side]["figures"] += answer["figures"]
    return said


def _for_any_side(request: dict[str, Any], _: str) -> dict[str, Any]:
    return request


def _by_input_and_router(benchmarks: Sequence[str]) -> list[list[str]]:
    """The benchmarks in groups of one router on one input, an input's beside each other."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in benchmarks:
        case = Case.parse(name)
        groups.setdefault((case.input, case.router), []).append(name)
    return [groups[key] for key in sorted(groups)]


def read_invariants(listed: Sequence[Sequence[Any]]) -> Invariants:
    """The values of a worker's answer. NaN and infinity become None: JSON has neither, and NaN differs from itself."""
    return {
        (benchmark, name): None if value is None or not math.isfinite(value) else value
        for benchmark, name, value in listed
    }


def _check_worker(name: str, answer: Mapping[str, Any], checkout: Path) -> None:
    if answer["protocol"] != PROTOCOL:
        raise GateError(f"{name}: its worker speaks protocol {answer['protocol']}, this gate {PROTOCOL}")
    if not Path(answer["routers"]).resolve().is_relative_to(checkout.resolve()):
        raise GateError(f"{name}: imports {answer['routers']} instead of its own checkout's code")


def _failures(said: Mapping[str, Any], names: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    failures: dict[str, str] = {}
    one_sided = set()
    for benchmark in said[BASE]["checks"]:
        wrong = {side: check for side in (BASE, HEAD) if (check := said[side]["checks"][benchmark]) is not None}
        if wrong:
            failures[benchmark] = "; ".join(
                f"fails in {names[side]}: {one_line(check, LONGEST_CHECK)}" for side, check in wrong.items()
            )
            if len(wrong) == 1:
                one_sided.add(benchmark)
    return failures, one_sided


def _one_of_each_shape(names: list[str], shapes: Mapping[str, Mapping[str, list[int]]]) -> list[str]:
    """The first input of each shape for a scenario and router: time depends on the shape, behaviour on the values."""
    kept: dict[tuple[object, ...], str] = {}
    for name in names:
        benchmark = Case.parse(name)
        shape = tuple(tuple(shapes[side][benchmark.input]) for side in (BASE, HEAD))
        kept.setdefault((benchmark.scenario, benchmark.router, shape), name)
    return list(kept.values())
