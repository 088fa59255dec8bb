"""One group of routers that are measured together: a scenario on one input, block by block, each in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, geometric_mean, median
from typing import Any, Generic, TypeVar

from bench.case import Case
from bench.timing.interleave import Call
from bench.timing.intervals import Interval, paired_ratio, resolution


@dataclass(frozen=True)
class Setup:
    """What it took to have a call compiled or captured, outside of its time.

    Attributes:
        seconds: until it could be timed.
        graph_breaks: at how many places torch.compile has left what it compiles.
    """

    seconds: float
    graph_breaks: int


@dataclass(frozen=True)
class PreparedCall:
    """A call to time.

    Attributes:
        call: what is timed.
        reset: puts back what a call has changed, outside of the time; None where it changes nothing.
        setup: what it took, where the call is not made eagerly.
    """

    call: Call
    reset: Call | None = None
    setup: Setup | None = None


@dataclass(frozen=True, eq=False)
class Checked:
    """What is known of a router before it is timed, or the reason why it cannot be.

    Attributes:
        flops: of one call, or None where nobody has counted them.
        peak_memory: of one call, bytes, or None.
        error: what is wrong with the router.
    """

    flops: int | None = None
    peak_memory: int | None = None
    error: Exception | None = None


class CannotRunError(Exception):
    """A subject that cannot do the work here; the message is the reason. It is said, and is no failure."""


AnyChecked = TypeVar("AnyChecked", bound=Checked, covariant=True)


FLOOR = "@floor"


def floor_of(router: str) -> str:
    """The subject of a group that does what no implementation of a router can do without."""
    return router + FLOOR


@dataclass(frozen=True)
class GroupSpec:
    """What is measured, against what, and how much of it.

    Attributes:
        key: names the group in the journal and on the progress bar.
        scenario: what a call does.
        input: what the routers are given; empty for a language model.
        routers: all that take part, the baseline and its twin among them.
        baseline: the router that the others are compared with.
        twin: the baseline a second time, its own object: the two must measure alike, and how far they do is the noise
            floor.
        gradients: calls run with autograd on.
        tokens: how many one call handles; 0 where it handles none.
        warmup: rounds before a block that are not kept.
        repetitions: blocks, each in a process of its own.
        rounds: in a block.
        memory: the first process measures what a call needs, after its block: it has the calls ready and warm.
        floors: the routers whose floors are measured beside them, see `floor_of`.
    """

    key: str
    scenario: str
    input: str
    routers: tuple[str, ...]
    baseline: str
    twin: str
    gradients: bool
    tokens: int
    warmup: int
    repetitions: int
    rounds: int
    memory: bool = False
    floors: tuple[str, ...] = ()

    def case(self, router: str) -> Case:
        """The benchmark of one of the routers."""
        return Case(self.scenario, router, self.input)


@dataclass(frozen=True)
class Block:
    """What one process measured of a group.

    Attributes:
        durations: router -> nanoseconds, one a round; equal positions are the same round.
        calls_per_round: router -> of how many calls a round's duration is the mean.
        failed: router -> why it could not be timed, in one line.
        peak_memory: router -> bytes that a call needs, or None; of the first process alone, where that was asked for.
        setup: router -> the fields of its `Setup`, where calls are not made eagerly.
    """

    durations: Mapping[str, list[int]]
    calls_per_round: Mapping[str, int]
    failed: Mapping[str, str] = field(default_factory=dict)
    peak_memory: Mapping[str, int | None] = field(default_factory=dict)
    setup: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class NotTimedError(Exception):
    """A router that was right when it was checked, and could not be timed."""


@dataclass(frozen=True, eq=False)
class Group(Generic[AnyChecked]):
    """What was measured.

    Attributes:
        spec: what was asked for.
        checked: router -> what was found out before; those that are wrong are not in the spec.
        blocks: one a process.
    """

    spec: GroupSpec
    checked: Mapping[str, AnyChecked]
    blocks: list[Block]

    def durations(self, name: str) -> list[int]:
        """All rounds of all blocks, nanoseconds.

        Raises:
            Exception: what was wrong with this router, which then was not timed.
        """
        baseline = self.spec.baseline
        error, baseline_error = self.error(name), self.error(baseline)
        if error is not None:
            raise error
        if baseline_error is not None:
            raise RuntimeError(f"the baseline {baseline} failed: nothing was timed in this group") from baseline_error
        return [duration for block in self.blocks for duration in block.durations[name]]

    def error(self, name: str) -> Exception | None:
        """What kept a router from being timed."""
        if (error := self.checked[name].error) is not None:
            return error
        said = next((block.failed[name] for block in self.blocks if name in block.failed), None)
        if said is not None:
            return NotTimedError(said)
        if self.blocks and not all(name in block.durations for block in self.blocks):
            return NotTimedError(f"{name} failed in a part of this run: measure it again from the start")
        return None

    @cached_property
    def timed(self) -> list[str]:
        """The routers that every process has timed, beside the baseline."""
        return [name for name in self.checked if self.blocks and self.error(name) is None]

    def peak_memory(self, name: str) -> int | None:
        """Bytes that a call of a router needs, as they were counted before or by the first process."""
        known = self.checked[name].peak_memory
        found = [block.peak_memory[name] for block in self.blocks if name in block.peak_memory]
        return found[0] if known is None and found else known

    def setup(self, name: str) -> dict[str, Any] | None:
        """What it took to have a router's call compiled or captured, one figure a process; None of eager calls."""
        found = [block.setup[name] for block in self.blocks if name in block.setup]
        return {figure: [setup[figure] for setup in found] for figure in found[0]} if found else None

    def ratios(self, name: str) -> list[float]:
        """A router's time over the baseline's, one a process: the median over the rounds."""
        return [paired_ratio(block.durations[name], block.durations[self.spec.baseline]) for block in self.blocks]

    @property
    def noise_floor(self) -> Interval:
        """The baseline against itself."""
        return Interval.of_ratios(self.ratios(self.spec.twin))

    @property
    def resolution(self) -> float:
        """The smallest difference between a router and the baseline that this group can tell, as a share of one."""
        return resolution([self.ratios(name) for name in self.timed if name != self.spec.baseline])

    @cached_property
    def _baseline_us(self) -> list[float]:
        return [median(block.durations[self.spec.baseline]) / 1e3 for block in self.blocks]

    def gflops(self, name: str) -> float | None:
        """10⁹ FLOP/s of a router in the typical process, or None where nobody has counted its work."""
        flops = self.checked[name].flops
        return None if flops is None else flops / geometric_mean(self.process_us(name)) / 1e3

    def floor(self, name: str) -> dict[str, Any] | None:
        """The JSON's `floor` of a router: its time over its floor's, by process; None where none was measured."""
        floor = floor_of(name)
        if not self.blocks or not all(floor in block.durations for block in self.blocks):
            return None
        ratios = [paired_ratio(block.durations[name], block.durations[floor]) for block in self.blocks]
        over, process_us = Interval.of_ratios(ratios), self.process_us(name)
        return {
            "us_per_call": geometric_mean(process_us) / over.estimate,
            "process_us": [time / ratio for time, ratio in zip(process_us, ratios, strict=True)],
            "ratio": over.as_dict(),
        }

    def process_us(self, name: str) -> list[float]:
        """Microseconds a call, one a process.

        The ratio leads: a process's time is the baseline's median there times the router's ratio there, so that times
        and ratios side by side say the same.
        """
        return [ratio * base for ratio, base in zip(self.ratios(name), self._baseline_us, strict=True)]

    def timing(self, name: str, peak_gflops: float) -> dict[str, Any]:
        """The JSON's `timing` of one router."""
        process_us, tokens = self.process_us(name), self.spec.tokens
        us_per_call = geometric_mean(process_us)
        return {
            "clock": "replayed: interleaved measurement, read back by pytest-benchmark",
            "repetitions": len(self.blocks),
            "rounds": len(self.blocks[0].durations[name]),
            "setup": self.setup(name),
            "calls_per_round": round(fmean(block.calls_per_round[name] for block in self.blocks)),
            "us_per_call": us_per_call,
            "tokens_per_call": tokens,
            "ns_per_token": us_per_call * 1e3 / tokens if tokens else None,
            "process_us": process_us,
            "baseline": self.spec.baseline,
            "ratio": Interval.of_ratios(self.ratios(name)).as_dict(),
            "noise_floor": self.noise_floor.as_dict(),
            "resolution": self.resolution,
            "floor": self.floor(name),
            "gflops": self.gflops(name),
            "peak_gflops": peak_gflops,
        }
