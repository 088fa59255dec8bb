"""One quantity over the seeds, typed."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev

from reports.judging.intervals import Interval, mean_interval
from reports.records.record import Amount, Number, Record, expect_length
from reports.records.rules import other_than


class Stat(Record):
    """One quantity over the seeds; a value is None where it does not exist."""

    mean: Number | None
    sd: Amount | None
    values: tuple[Number | None, ...]
    _seeds: tuple[int, ...] = ()

    def contradictions(self) -> Iterator[str | None]:
        """Mean and standard deviation are those of the values that exist."""
        known = [value for value in self.values if value is not None]
        scale = max(map(abs, known), default=0.0)
        yield other_than("mean", self.mean, fmean(known) if known else None, "mean of values", scale=scale)
        yield other_than("sd", self.sd, stdev(known) if len(known) > 1 else None, "sd of values", scale=scale)

    def give_seeds(self, seeds: tuple[int, ...], path: str) -> None:
        """Takes the seeds that the values belong to, one each; the path is the quantity's own, for an error."""
        expect_length(f"{path}.values", self.values, len(seeds))
        self._seeds = seeds

    @property
    def by_seed(self) -> dict[int, float | None]:
        """The values by seed."""
        return dict(zip(self._seeds, self.values, strict=True))

    @property
    def known(self) -> dict[int, float]:
        """The values that exist, by seed."""
        return {seed: value for seed, value in self.by_seed.items() if value is not None}

    @property
    def interval(self) -> Interval | None:
        """Mean and 95 % interval over the seeds."""
        return mean_interval(list(self.known.values())) if self.known else None


NO_STAT = Stat(mean=None, sd=None, values=())
