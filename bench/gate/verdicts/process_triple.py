"""Three fresh processes, two of base and one of head, that take turns call by call."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path
from statistics import fmean, median

from bench.gate.revisions.process import BASE, HEAD, SIDES, TWIN, StartWorker, ask_all
from bench.gate.verdicts.evidence import PairedSample

WARM_UP_CALLS = 3
WARM_UP_NS = 1_000_000_000
"""A call that takes longer is warm after itself."""
VISIT_NS = 1_000_000
MOST_CALLS_A_VISIT = 10
LONGEST_VISIT_NS = 100_000_000
"""Of a revision that is far slower than the other, a visit has fewer calls, so that it takes no longer."""
FEWEST_CYCLES = 3
TWICE = math.log(2)
PLAIN = 6 * TWICE
"""Six cycles in which one revision is always twice as slow leave no doubt; of what is slower, fewer."""
LONG_PAIR_S = 20.0
"""After so many seconds one of them is enough."""


class ProcessTriple:
    """Fresh processes with their benchmarks loaded; the context ends them.

    Args:
        start: starts a worker for a side.
        folders: side -> where the inputs and experts that it loads are stored.
        benchmarks: what will be measured.
        slowdowns: benchmark -> share by which head is made slower, for the self-test.
    """

    def __init__(
        self,
        start: StartWorker,
        folders: Mapping[str, Path],
        benchmarks: Sequence[str],
        slowdowns: Mapping[str, float],
    ) -> None:
        with ExitStack() as stack:
            # Which of the three is started first must not be a part of what is measured.
            order = random.sample(SIDES, len(SIDES))
            self._workers = {side: stack.enter_context(start(side)) for side in order}
            ask_all(
                self._workers,
                "load",
                lambda side: {
                    "benchmarks": list(benchmarks),
                    "folder": str(folders[side]),
                    "slowdowns": dict(slowdowns) if side == HEAD else {},
                    "seed": random.randrange(1 << 32),
                },
            )
            self._stack = stack.pop_all()

    def measure(self, benchmark: str, cycles: int, seed: str) -> PairedSample:
        """Time one benchmark in all three processes in every cycle, never in two at once.

        A shared machine may change its speed by half from one tenth of a second to the next: only neighbouring visits
        of a millisecond are compared, and medians over the cycles are what counts. Head is compared with each process
        of base by itself: the log of a ratio of two is as often above as below 0 where their code is equal, however
        skewed the noise is, and so its median is 0. That of head against the mean of two would not be.

        A difference that is plain in every cycle ends the pair early: the slower a revision, the fewer calls it takes.
        """
        began = time.monotonic()
        warm = [self._warm_up(side, benchmark) for side in SIDES]
        calls = max(1, min(MOST_CALLS_A_VISIT, VISIT_NS // min(warm), LONGEST_VISIT_NS // max(warm)))
        visits: dict[str, list[float]] = {side: [] for side in SIDES}
        over_base: list[float] = []
        over_twin: list[float] = []
        for order in turns(cycles, seed):
            for side in order:
                visits[side].append(fmean(self._time(side, benchmark, calls)))
            base, twin, head = (math.log(visits[side][-1]) for side in SIDES)
            over_base.append(head - base)
            over_twin.append(head - twin)
            if is_plain([*over_base, *over_twin], late=time.monotonic() - began > LONG_PAIR_S):
                break
        return PairedSample(
            ratio=(median(over_base) + median(over_twin)) / 2,
            noise=median(one - other for one, other in zip(over_base, over_twin, strict=True)),
            base_us=median(visits[BASE] + visits[TWIN]) / 1e3,
            head_us=median(visits[HEAD]) / 1e3,
            cycle_s=(time.monotonic() - began) / len(over_base),
        )

    def _warm_up(self, side: str, benchmark: str) -> int:
        """Nanoseconds of a call of a warm process."""
        first = self._time(side, benchmark, 1)[-1]
        return first if first > WARM_UP_NS else self._time(side, benchmark, WARM_UP_CALLS - 1)[-1]

    def _time(self, side: str, benchmark: str, calls: int) -> list[int]:
        durations: list[int] = self._workers[side].ask("time", benchmark=benchmark, calls=calls)
        return durations

    def __enter__(self) -> ProcessTriple:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def turns(cycles: int, seed: str) -> Iterator[list[str]]:
    """Random orders of the three processes, one for each cycle, in which none is visited twice in succession.

    A process that comes straight after itself finds its data in the caches, and is faster for that.
    """
    generator = random.Random(seed)
    last = None
    for _ in range(cycles):
        order = generator.choice([order for order in permutations(SIDES) if order[0] != last])
        last = order[-1]
        yield list(order)


def is_plain(logs: Sequence[float], *, late: bool = False) -> bool:
    """Whether ratios, two of every cycle, leave no doubt which revision is the slower one.

    Args:
        logs: of head over each of the two processes of base.
        late: the pair has taken so long that a single cycle has to do.
    """
    smallest, cycles = max(min(logs), -max(logs)), len(logs) // 2
    return smallest >= TWICE and (late or (cycles >= FEWEST_CYCLES and cycles * smallest >= PLAIN))


def needed_cycles(log_ratio: float, cycles: int) -> int:
    """How many of the cycles a pair will take where head is so much slower or faster."""
    size = abs(log_ratio)
    return cycles if size < TWICE else min(cycles, max(FEWEST_CYCLES, math.ceil(PLAIN / size)))
