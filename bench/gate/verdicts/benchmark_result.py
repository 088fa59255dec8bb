"""What the samples of a benchmark say: the evidence in them, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.gate.settings import Rules
from bench.gate.verdicts.evidence import Evidence, PairedSample, is_far_slower, typical_noise, verdict, weigh

NOT_SETTLED = "not settled within the time given"
NOT_CONFIRMED = "far beyond threshold and noise in the first look, and too slow to be measured again in time"


@dataclass(frozen=True)
class BenchmarkResult:
    """The samples of one benchmark, the evidence in them, and the verdict.

    Attributes:
        pairs: all paired samples.
        first: evidence of the first look.
        fresh: evidence of later processes, or None where the first look was enough.
        every: evidence of all pairs.
        verdict: SLOWER, FASTER, SAME or UNCERTAIN.
        reason: a sentence on a verdict that needs one.
    """

    pairs: Sequence[PairedSample]
    first: Evidence
    fresh: Evidence | None
    every: Evidence
    verdict: str
    reason: str | None = None

    @property
    def judged(self) -> Evidence:
        """What the verdict rests on: all pairs can clear, fresh ones alone accuse."""
        return self.every if self.fresh is None or self.verdict == "SAME" else self.fresh


Pairs = Mapping[str, Sequence[PairedSample]]
"""Benchmark -> its paired samples."""


def judge_pairs(first: Pairs, fresh: Pairs, rules: Rules) -> dict[str, BenchmarkResult]:
    """Benchmark -> its result, for those that have been looked at.

    Args:
        first: of the first look.
        fresh: of later processes, the same keys.
        rules: thresholds.
    """
    pairs = {name: [*first[name], *fresh[name]] for name in first}
    if not any(pairs.values()):
        return {}
    typical = typical_noise(pairs)
    looked, later, every = (weigh(each, typical) for each in (first, fresh, pairs))
    return {
        name: BenchmarkResult(
            pairs[name],
            looked[name],
            later.get(name),
            every[name],
            verdict(looked[name], later.get(name), every[name], rules),
        )
        for name in looked
    }


def explain(result: BenchmarkResult, rules: Rules) -> BenchmarkResult:
    """The result at the end, with the reason of a verdict that needs one.

    What could not be confirmed fails where the first look, and whatever came after it, proves it far slower.
    """
    if result.verdict != "UNCERTAIN":
        return result
    looks = [result.first, *([result.fresh] if result.fresh else [])]
    confirmed = result.fresh is not None and result.fresh.pairs >= rules.confirmations
    if not confirmed and all(is_far_slower(look, rules) for look in looks):
        return replace(result, verdict="SLOWER", reason=NOT_CONFIRMED)
    return replace(result, reason=NOT_SETTLED)
