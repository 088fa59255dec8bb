"""The first pass over both revisions: their benchmarks, what holds for these, and what is stored for timing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gate.errors import GateError, NothingToCompareError
from bench.gate.verdicts.invariants import Invariants, read_invariants
from bench.gate.verdicts.process_triple import BASE, HEAD, TWIN, StartWorker
from bench.gate.verdicts.sampling import ResultStore
from bench.gate.worker import PROTOCOL
from bench.gate.worker_side.catalogue import Benchmark


@dataclass(frozen=True)
class RevisionFacts:
    """What is known before anything is timed.

    Attributes:
        benchmarks: those that both revisions have, in base's order.
        added: only head has them.
        removed: only base has them.
        failures: benchmark -> which side failed its check, and how; for those that fail on one side or both.
        one_sided: those of them that fail on one side alone.
        timed: those to time.
        figures: side -> figures.
        folders: side -> where its fresh processes find inputs and experts.
    """

    benchmarks: list[str]
    added: list[str]
    removed: list[str]
    failures: dict[str, str]
    one_sided: set[str]
    timed: list[str]
    figures: dict[str, Invariants]
    folders: dict[str, Path]


def gather_facts(start: StartWorker, checkouts: Mapping[str, Path], folder: Path, kept: ResultStore) -> RevisionFacts:
    """Ask both revisions, both at once: nothing is timed here.

    Args:
        start: starts a worker for a side.
        checkouts: side -> its checkout.
        folder: where inputs and experts are stored.
        kept: what the revisions said is kept there; inputs are made again.

    Raises:
        NothingToCompareError: no benchmark in common.
        GateError: a worker of another protocol, or one that imports another checkout's code.
        WorkerError: a worker that failed.
    """
    folders = {side: folder / side for side in (BASE, HEAD)}
    with ExitStack() as stack:
        workers = {side: stack.enter_context(start(side)) for side in (BASE, HEAD)}
        for worker in workers.values():
            worker.send("collect")
        found = {side: worker.receive() for side, worker in workers.items()}
        for side, answer in found.items():
            _check_worker(workers[side].name, answer, checkouts[side])
        names = {side: answer["benchmarks"] for side, answer in found.items()}
        both = [name for name in names[BASE] if name in set(names[HEAD])]
        if not both:
            raise NothingToCompareError(
                f"nothing to compare: {workers[BASE].name} has {len(names[BASE])} selected benchmarks, "
                f"{workers[HEAD].name} has {len(names[HEAD])}, none in common"
            )
        for side, worker in workers.items():
            folders[side].mkdir(parents=True, exist_ok=True)
            worker.send("prepare", benchmarks=both, folder=str(folders[side]))
        shapes = {side: worker.receive() for side, worker in workers.items()}
        said = kept.get("facts")
        if said is None:
            for worker in workers.values():
                worker.send("facts", benchmarks=both)
            said = {side: worker.receive() for side, worker in workers.items()}
            kept.append("facts", said)
    failures, one_sided = _failures(said, {side: worker.name for side, worker in workers.items()})
    return RevisionFacts(
        benchmarks=both,
        added=[name for name in names[HEAD] if name not in set(names[BASE])],
        removed=[name for name in names[BASE] if name not in set(names[HEAD])],
        failures=failures,
        one_sided=one_sided,
        timed=_one_of_each_shape([name for name in both if name not in failures], shapes),
        figures={side: read_invariants(answer["figures"]) for side, answer in said.items()},
        folders=folders | {TWIN: folders[BASE]},
    )


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
            failures[benchmark] = "; ".join(f"fails in {names[side]}: {check}" for side, check in wrong.items())
            if len(wrong) == 1:
                one_sided.add(benchmark)
    return failures, one_sided


def _one_of_each_shape(names: list[str], shapes: Mapping[str, Mapping[str, list[int]]]) -> list[str]:
    """The first input of each shape for a scenario and router: the time hangs on the shape, behaviour on the values."""
    kept: dict[tuple[object, ...], str] = {}
    for name in names:
        benchmark = Benchmark.parse(name)
        shape = tuple(tuple(shapes[side][benchmark.input]) for side in (BASE, HEAD))
        kept.setdefault((benchmark.scenario, benchmark.router, shape), name)
    return list(kept.values())
