"""Others' code beside ours, typed: one benchmark each, the works of a run, and pairs of ours and a peer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from reports.judging.intervals import Interval
from reports.judging.standing import Shift
from reports.records.measurements import Measurement
from reports.records.precision import Precision
from reports.records.record import Amount, Name, Record, Share, Size, Text

PEER = "peer"


class WorkRecord(Record):
    """What a work is called, what one call does, and forward or training; works of a family have the same weights."""

    label: Name
    description: Text
    family: Name
    mode: Name


class LeftOutRecord(Record):
    """Who was not timed at a work, and why."""

    input: Name
    peer: Name
    reason: Text


class PeerRecords(Record):
    """The works of a run, the versions of the packages, null of one that is not installed, and who was left out."""

    packages: dict[Name, Name | None] = Field(default_factory=dict)
    works: dict[Name, WorkRecord] = Field(default_factory=dict)
    left_out: tuple[LeftOutRecord, ...] = ()


class PeerEntry(Measurement):
    """One benchmark: ours or a peer at a work, which `input` names with its sizes."""

    subject: Literal["peer"]
    input: Name
    work: Name
    mode: Name
    num_tokens: Size
    intermediate_size: Size | None  # none of a gate
    selection: Name | None = None
    error_to_reference: Amount | None = None
    """The largest difference from the float64 reference, as a share of its largest value."""
    agreement: Share | None = None
    """The share of tokens whose output is ours, as far as rounding allows."""

    def contradictions(self) -> Iterator[str | None]:
        """The input begins with its work."""
        yield from super().contradictions()
        begins = self.input.partition("@")[0]
        yield None if begins == self.work else f"work is {self.work[:80]!r}, not {begins[:80]!r}, of which input is"

    @property
    def key(self) -> tuple[str, ...]:
        """Subject, scenario, who, and the work with its sizes."""
        return PEER, self.scenario, self.router, self.input

    @property
    def name(self) -> str:
        """As for all benchmarks."""
        return f"{self.scenario} | {self.input} | {self.router}"

    @property
    def counts(self) -> Mapping[str, float | None]:
        """Parameters, the same in every run of the same packages."""
        return {"parameters": self.parameters}

    @property
    def precision(self) -> Precision | None:
        """Not compared: what is wrong with a peer is not timed."""
        return None


@dataclass(frozen=True)
class PeerPair:
    """Ours and a peer at the same work.

    Attributes:
        peer: the peer.
        ours: ours, where the file holds it; the ratio is known without.
        family: of works with the same weights.
    """

    peer: PeerEntry
    ours: PeerEntry | None
    family: str

    @property
    def ratio(self) -> Interval:
        """Our time over the peer's: below 1 ours is faster."""
        found = self.peer.timing.ratio
        low, high = (None if bound is None else 1 / bound for bound in (found.high, found.low))
        return Interval(1 / found.estimate, low, high)

    @property
    def shift(self) -> Shift:
        """The same, for a judgement."""
        found = self.peer.timing.shift
        return Shift(-found.log, found.error, found.freedom)

    @property
    def ours_us(self) -> float:
        """Microseconds of a call of ours."""
        return self.peer.timing.us_per_call * self.ratio.estimate

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory over the peer's, where both are known and the peer's is any."""
        ours, peers = self.ours.peak_memory if self.ours else None, self.peer.peak_memory
        return ours / peers if ours is not None and peers else None


def fastest_peers(pairs: Sequence[PeerPair]) -> list[PeerPair]:
    """The pair with the fastest peer of each work and its sizes, in order."""
    best: dict[tuple[str, int], PeerPair] = {}
    for pair in pairs:
        place = pair.peer.input, pair.peer.source
        if place not in best or pair.ratio.estimate > best[place].ratio.estimate:
            best[place] = pair
    return list(best.values())
