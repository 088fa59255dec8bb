"""How long a call takes, typed: the JSON's `timing`."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import geometric_mean

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from reports.judging.standing import Shift
from reports.records.record import Amount, Count, Name, Positive, Ratio, Record, Size, Text
from reports.records.rules import above, other_than


class Floor(Record):
    """The bare products, as torch's library computes them, and one read of the input, and the time over them."""

    us_per_call: Positive
    ratio: Ratio
    process_us: tuple[Positive, ...] | None = None


class Timing(Record):
    """How long a call takes, in itself and beside the baseline."""

    clock: Text
    clock_mode: Name | None = None  # what a duration is
    l2: Name | None = None
    repetitions: Size
    rounds: Size
    us_per_call: Positive
    tokens_per_call: Count
    ns_per_token: Positive | None  # None where a call handles no token
    process_us: tuple[Positive, ...]
    baseline: Name
    ratio: Ratio
    noise_floor: Ratio
    resolution: Amount  # smallest difference that the group can tell, a share of one
    floor: Floor | None = None
    gflops: Amount | None
    peak_gflops: Positive | None

    def contradictions(self) -> Iterator[str | None]:
        """A process a repetition, the call between them, and no work that the machine cannot do."""
        yield other_than("repetitions", self.repetitions, len(self.process_us), "the number of process_us")
        yield other_than(
            "us_per_call", self.us_per_call, geometric_mean(self.process_us), "geometric mean of process_us"
        )
        yield above("gflops", self.gflops, self.peak_gflops, "peak_gflops")
        if self.floor is not None:
            over = self.us_per_call / self.floor.us_per_call
            yield other_than(
                "floor.ratio.estimate", self.floor.ratio.estimate, over, "us_per_call over floor.us_per_call"
            )
            if (process_us := self.floor.process_us) is not None:
                yield other_than("floor.process_us", len(process_us), self.repetitions, "one a repetition")

    def in_calls_of(self, tokens: int | None) -> Iterator[str | None]:
        """The rules for a benchmark on so many tokens: a call handles no more, and a token takes its part of a call."""
        handled = self.tokens_per_call
        yield above("timing.tokens_per_call", handled, tokens or 0, "num_tokens")
        per_token = 1e3 * self.us_per_call / handled if handled else None
        yield other_than("timing.ns_per_token", self.ns_per_token, per_token, "us_per_call over tokens_per_call")

    @field_validator("process_us")
    @classmethod
    def _holds_processes(cls, processes: tuple[float, ...]) -> tuple[float, ...]:
        if not processes:
            raise PydanticCustomError("empty", "holds no process")
        return processes

    @property
    def shift(self) -> Shift:
        """The ratio to the baseline, for a judgement."""
        return Shift.of(self.ratio, len(self.process_us))
