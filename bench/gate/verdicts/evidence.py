"""The statistics of a verdict: evidence from the paired samples of fresh processes, and the rules applied to it.

All ratios are logarithms here, head over base: 0 is equal, +0.05 is some 5 % slower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from scipy.special import stdtrit

from bench.gate.settings import Rules
from bench.timing.intervals import CONFIDENCE, Interval

PRIOR_PAIRS = 4
"""How many pairs the run's typical noise is worth beside a benchmark's own few: two or three scatter too little now and
then by chance alone, and an interval from them would be too sure (a moderated t, as Smyth 2004)."""
VARIANCE_RATIO = 0.75
"""Variance of head against the mean of two processes of base, over that of one process of base against the other."""

FAR_FLOORS = 5.0
"""What is far beyond the noise is beyond so many floors."""


@dataclass(frozen=True)
class PairedSample:
    """One benchmark in one fresh process of head and two of base, measured in turn.

    Attributes:
        ratio: log of head over base, mean of the comparisons with its two processes.
        noise: log of the second of base over the first: the same code (A/A).
        base_us: median call of base, microseconds.
        head_us: median call of head, microseconds.
        cycle_s: seconds that one turn of the three took, from which later rounds are planned.
    """

    ratio: float
    noise: float
    base_us: float
    head_us: float
    cycle_s: float


@dataclass(frozen=True)
class Evidence:
    """What some pairs say about one benchmark.

    Attributes:
        ratio: log of head over base, with its interval.
        noise: log of base over itself, with its interval.
        floor: by how much the mean of so many pairs of equal code typically misses 0.
        pairs: how many paired samples it rests on.
    """

    ratio: Interval
    noise: Interval
    floor: float
    pairs: int


def typical_noise(pairs: Mapping[str, Sequence[PairedSample]]) -> float:
    """The mean square of the noise of equal code, of the benchmark in the middle."""
    return median(fmean(pair.noise**2 for pair in sample) for sample in pairs.values() if sample)


def weigh(pairs: Mapping[str, Sequence[PairedSample]], typical: float) -> dict[str, Evidence]:
    """Benchmark -> evidence, for those with pairs; `typical_noise` says how far a few of them can be believed."""
    return {name: _weigh(sample, typical) for name, sample in pairs.items() if sample}


def _weigh(pairs: Sequence[PairedSample], typical: float) -> Evidence:
    n = len(pairs)
    noise_squares = sum(pair.noise**2 for pair in pairs)
    centre = fmean(pair.ratio for pair in pairs)
    squares = sum((pair.ratio - centre) ** 2 for pair in pairs) + VARIANCE_RATIO * noise_squares
    freedom = (n - 1) + n + PRIOR_PAIRS
    error = math.sqrt((squares + PRIOR_PAIRS * VARIANCE_RATIO * typical) / freedom / n)
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    noise, noise_reach = fmean(pair.noise for pair in pairs), reach / math.sqrt(VARIANCE_RATIO)
    return Evidence(
        ratio=Interval(centre, centre - reach, centre + reach),
        noise=Interval(noise, noise - noise_reach, noise + noise_reach),
        floor=math.sqrt((noise_squares + PRIOR_PAIRS * typical) / (n + PRIOR_PAIRS) / n),
        pairs=n,
    )


def verdict(first: Evidence, fresh: Evidence | None, every: Evidence, rules: Rules) -> str:
    """SLOWER, FASTER, SAME or UNCERTAIN.

    Args:
        first: of the first look, which every benchmark gets. It can help to clear a benchmark, never to accuse it.
        fresh: of processes after it, or None: what a difference has to be proved in.
        every: of all pairs together.
        rules: thresholds.
    """
    if fresh is not None and fresh.pairs >= rules.confirmations:
        direction = _difference(fresh, rules)
        overruled = fresh.pairs >= rules.overruling and _difference(every, rules) == direction
        if direction and (direction * first.ratio.estimate > 0 or overruled):
            return "SLOWER" if direction > 0 else "FASTER"
    margin = math.log1p(rules.margin)
    if not _difference(every, rules) and -margin < every.ratio.low <= every.ratio.high < margin:
        return "SAME"
    return "UNCERTAIN"


def is_slower(evidence: Evidence, rules: Rules) -> bool:
    """Whether these pairs by themselves prove head slower."""
    return _difference(evidence, rules) > 0


def is_far_slower(evidence: Evidence, rules: Rules) -> bool:
    """Whether they prove it so much slower that no chance explains it."""
    return evidence.ratio.low > max(math.log1p(rules.far), FAR_FLOORS * evidence.floor)


def _difference(evidence: Evidence, rules: Rules) -> int:
    """1 where head is proved slower, -1 where it is proved faster, 0 where neither is."""
    bound = max(math.log1p(rules.threshold), rules.floor_multiple * evidence.floor)
    return (evidence.ratio.low > bound) - (evidence.ratio.high < -bound)
