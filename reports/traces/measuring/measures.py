"""The metrics of `routers.metrics` in NumPy, for one layer or for all at once; a test holds the two together.

Axes: T tokens, L layers, E experts, K experts per token, R expert-parallel ranks. A load (…, E) is counts, or shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from reports.format.numbers import Show, fixed, percent
from reports.traces.trace import Array

CAPACITY_FACTOR = Fraction(5, 4)
"""Of the drop rate."""
DEAD = 0.001
"""An expert with a smaller share of the load than this is dead."""


def entropy(probs: Array) -> Array:
    """−Σ p ln p over the last axis, in nats, 0 ln 0 = 0: (…, E) -> (…)."""
    logs = np.log(probs, where=probs > 0, out=np.zeros_like(probs))
    # A plain minus would give −0 for a one-hot row.
    return np.asarray(0.0 - (probs * logs).sum(axis=-1))


def shares(load: Array) -> Array:
    """A load as shares, sum 1; NaN where there is none."""
    load = np.asarray(load, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(load / load.sum(axis=-1, keepdims=True))


def load_entropy(load: Array) -> Array:
    """Entropy of the shares in nats: ln E at balance."""
    return entropy(shares(load))


def max_violation(load: Array) -> Array:
    """max n / mean n − 1 (MaxVio, Wang et al. 2024): 0 at balance, E − 1 if one expert takes all."""
    return _over_mean(load, np.max(load, axis=-1)) - 1


def coefficient_of_variation(load: Array) -> Array:
    """std(n) / mean(n) with ddof 0, idle experts too: 0 at balance."""
    return _over_mean(load, np.std(np.asarray(load, dtype=np.float64), axis=-1))


def gini(load: Array) -> Array:
    """Σ_i Σ_j |n_i − n_j| / (2 E Σ n), by the sorted load: 0 at balance, 1 − 1/E if one expert takes all."""
    load = np.sort(np.asarray(load, dtype=np.float64), axis=-1)
    number = load.shape[-1]
    # Of sorted values, n_(i) is the larger in i pairs and the smaller in E − 1 − i; the sum has each pair twice.
    ranks = 2 * np.arange(number) - number + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((load * ranks).sum(axis=-1) / (number * load.sum(axis=-1)))


def dead_experts(load: Array) -> Array:
    """Share of the experts whose share of the load is below 0.1 %."""
    found = shares(load)
    return np.where(np.isnan(found).any(axis=-1), np.nan, (found < DEAD).mean(axis=-1))


def max_over_min(load: Array) -> Array:
    """The largest load over the smallest: 1 at balance, infinite where an expert has none."""
    load = np.asarray(load, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(load.max(axis=-1) / load.min(axis=-1))


def drop_rate(load: Array) -> Array:
    """Share of assignments dropped if each expert keeps at most ⌈1.25 · assignments / E⌉ (GShard), of counts."""
    load = np.asarray(load, dtype=np.int64)
    total = load.sum(axis=-1)
    rows = -(-total * CAPACITY_FACTOR.numerator // (CAPACITY_FACTOR.denominator * load.shape[-1]))
    dropped = np.maximum(load - rows[..., None], 0).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(dropped / np.where(total, total, np.nan))


def rank_imbalance(load: Array, ranks: int) -> Array:
    """max/mean of the loads of R ranks, rank r with the experts r·E/R to (r + 1)·E/R − 1: (…, E) -> (…).

    1 at balance, R if one rank has all: what a step waits for.

    Raises:
        ValueError: R does not divide E.
    """
    load = np.asarray(load, dtype=np.float64)
    if ranks < 1 or load.shape[-1] % ranks:
        raise ValueError(f"ranks is {ranks}, expected a divisor of the number of experts, {load.shape[-1]}")
    by_rank = load.reshape(*load.shape[:-1], ranks, -1).sum(axis=-1)
    return _over_mean(by_rank, by_rank.max(axis=-1))


def distance(first: Array, second: Array) -> Array:
    """Total-variation distance of two loads, ½ Σ |f − g| of their shares: 0 if alike, 1 if no expert is shared."""
    return np.asarray(np.abs(shares(first) - shares(second)).sum(axis=-1) / 2)


def co_activation(pairs: Array, counts: Array) -> Array:
    """P(j | i) = N_ij / N_i: (…, E, E) pair counts and (…, E) tokens of each -> (…, E, E); an idle i has 0."""
    return pairs / np.maximum(counts, 1)[..., None]


def independent_pairs(pairs: Array, counts: Array) -> Array:
    """The pair counts that experts selected without regard to each other would have: (…, E, E), the diagonal 0.

    Proportional to N_i N_j, and as many pairs in all as there are: a token selects K different experts, so that pairs
    are a little rarer than the plain product says.
    """
    counts = np.asarray(counts, dtype=np.float64)
    product = counts[..., :, None] * counts[..., None, :]
    product[..., np.arange(counts.shape[-1]), np.arange(counts.shape[-1])] = 0
    total = product.sum(axis=(-2, -1), keepdims=True)
    scale = np.divide(pairs.sum(axis=(-2, -1), keepdims=True), total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(product * scale)


def _over_mean(load: Array, value: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(value / np.mean(np.asarray(load, dtype=np.float64), axis=-1))


_THREE_DECIMALS = fixed(3)


@dataclass(frozen=True)
class Measure:
    """A metric of a layer's load, as `routers.metrics` calls it.

    Attributes:
        name: in the JSON.
        label: the heading of its column.
        definition: in words, for the middle of a sentence.
        measure: counts (…, E) -> (…).
        show: how a table writes it.
    """

    name: str
    label: str
    definition: str
    measure: Callable[[Array], Array]
    show: Show = _THREE_DECIMALS


LOAD_MEASURES = (
    Measure("load_entropy", "Load entropy", "entropy of the experts' shares, in nats", load_entropy, fixed(4)),
    Measure("max_violation", "MaxVio", "the largest count over the mean count, minus one", max_violation),
    Measure("cv", "CV", "standard deviation of the counts over their mean", coefficient_of_variation),
    Measure("gini", "Gini", "Σ Σ |load difference| / (2 E Σ load)", gini),
    Measure("dead_experts", "Dead experts", "share of experts with a load below 0.1 %", dead_experts, percent),
    Measure(
        "max_over_min", "Max/min", "the largest load over the smallest; a dash where an expert has none", max_over_min
    ),
    Measure(
        "drop_rate",
        "Drop rate",
        "share of assignments dropped if each expert keeps at most 1.25 times its even share",
        drop_rate,
        percent,
    ),
)
"""What is measured of each layer's load."""
