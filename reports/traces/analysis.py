"""All that is measured of a trace.

Axes: T tokens, L layers, E experts, K experts per token, W windows, G domains, R expert-parallel ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.loads import LoadTrace, side_by_side
from reports.traces.measuring import measures
from reports.traces.measuring.agreement import Agreement, agree
from reports.traces.measuring.counting import count
from reports.traces.measuring.domains import Domains, domains_of, specialisation
from reports.traces.measuring.drift import Drift, drift_of, windows_of
from reports.traces.tokens import Tokens
from reports.traces.trace import Array, RoutingTrace

RANKS = (2, 4, 8)
"""Expert-parallel ranks whose imbalance is measured unless others are asked for: those that divide E."""
WINDOWS = 16
"""So many windows of tokens are compared, where there are steps those of whole steps."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """The figures of a trace; arrays by layer unless said otherwise.

    Attributes:
        sources: the names of the files.
        layer_names: of each.
        num_tokens: T, those that count; None of counts without tokens, as are K and what is said by token.
        left_out: tokens that do not.
        num_experts: E.
        num_experts_known: a file or the caller says E; otherwise it is one more than the largest that occurs.
        top_k: K.
        load: assignments, (L, E).
        measures: name -> (L,), those of `measures.LOAD_MEASURES`.
        probabilities: name -> (L,), those made of router probabilities; empty where there are no logits.
        experts_per_token: mean and standard deviation of the tokens' numbers of experts, (2, L).
        rank_imbalance: R -> (L,).
        co_activation: P(j | i), (L, E, E), or None where K is 1, or pairs are too many.
        pairs: tokens that have two experts both, (L, E, E), or None.
        independent: what `pairs` would be of experts that are selected without regard to each other, or None.
        pair_tokens: of how many tokens.
        weight_by_rank: mean routing weight, (L, K), or None.
        importance: Σ of the routing weights by expert, (L, E), or None.
        domains, drift, agreement: None where there are none, one window alone, no other trace.
    """

    sources: tuple[str, ...]
    layer_names: tuple[str, ...]
    num_tokens: int | None
    left_out: int
    num_experts: int
    num_experts_known: bool
    top_k: int | None
    load: Array
    measures: dict[str, Array]
    probabilities: dict[str, Array]
    experts_per_token: Array | None
    rank_imbalance: dict[int, Array]
    co_activation: Array | None
    pairs: Array | None
    independent: Array | None
    pair_tokens: int
    weight_by_rank: Array | None
    importance: Array | None
    domains: Domains | None
    drift: Drift | None
    agreement: Agreement | None

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.layer_names)

    @property
    def cv_by_chance(self) -> float | None:
        """The CV that counts of so many tokens have where every expert is as likely as any other."""
        if self.num_tokens is None or self.top_k is None:
            return None
        return float(np.sqrt((self.num_experts - self.top_k) / (self.num_tokens * self.top_k)))


def analyse(
    trace: RoutingTrace | LoadTrace | Sequence[RoutingTrace | LoadTrace],
    *,
    against: RoutingTrace | LoadTrace | Sequence[RoutingTrace | LoadTrace] | None = None,
    ranks: Sequence[int] | None = None,
    windows: int = WINDOWS,
) -> Analysis:
    """Measure a trace, in one pass over its tokens.

    Args:
        trace: one, or the parts of one in order: their tokens are taken together. Of counts without tokens, one or
            those of expert-parallel ranks.
        against: another trace of the same tokens.
        ranks: numbers of expert-parallel ranks; 2, 4 and 8 where they divide E, unless given.
        windows: into how many windows the tokens are divided to see the load change.

    Raises:
        TraceError: a value that cannot be (an expert that there is not, or twice in a token; NaN), parts that disagree,
            no token that counts, ranks that do not divide E.
    """
    if windows < 1:
        raise TraceError(f"windows is {windows}, expected at least 1")
    loads, parts = by_kind(trace)
    other_loads, other_parts = by_kind(() if against is None else against)
    if counts_alone := loads + other_loads:
        if parts or against is not None:
            raise TraceError(f"{counts_alone[0].source}: counts without tokens stand beside no other trace")
        return _of_loads(loads, ranks, windows)
    tokens = Tokens(parts)
    other = None if against is None else Tokens(other_parts)
    chosen = _ranks(ranks, tokens.num_experts, inferred=tokens.inferred)
    mask = tokens.mask()
    if not mask.any():
        raise TraceError(f"{tokens.source}: the mask leaves no token")
    steps = tokens.column("steps")
    by_window, labels = windows_of(mask, steps, windows)
    names, by_domain = domains_of(tokens, mask)
    counts = count(tokens, by_window, len(labels), by_domain, len(names))
    load = counts.load.sum(axis=0)
    number, squares = counts.experts_per_token / counts.tokens.sum()
    return Analysis(
        sources=tuple(each.source for each in tokens.parts),
        layer_names=tokens.first.layer_names,
        num_tokens=int(counts.tokens.sum()),
        left_out=int((~mask).sum()),
        num_experts=tokens.num_experts,
        num_experts_known=not tokens.inferred,
        top_k=tokens.first.top_k,
        load=load,
        measures={each.name: each.measure(load) for each in measures.LOAD_MEASURES},
        probabilities={} if counts.probabilities is None else counts.probabilities.measures(),
        experts_per_token=np.stack([number, np.sqrt(np.maximum(squares - number**2, 0))]),
        rank_imbalance={each: measures.rank_imbalance(load, each) for each in chosen},
        co_activation=None if counts.pairs is None else measures.co_activation(counts.pairs, counts.pair_load),
        pairs=counts.pairs,
        independent=None if counts.pairs is None else measures.independent_pairs(counts.pairs, counts.pair_load),
        pair_tokens=counts.pair_tokens,
        weight_by_rank=None if counts.weights is None else counts.weights / counts.tokens.sum(),
        importance=counts.importance,
        domains=None if counts.by_domain is None else specialisation(names, counts.by_domain, tokens.first.top_k),
        drift=drift_of(counts, labels, by_steps=steps is not None) if len(labels) > 1 else None,
        agreement=None if other is None else agree(tokens, other),
    )


def by_kind(
    trace: RoutingTrace | LoadTrace | Sequence[RoutingTrace | LoadTrace],
) -> tuple[list[LoadTrace], list[RoutingTrace]]:
    """The parts that are counts without tokens, and the others."""
    parts = [trace] if isinstance(trace, RoutingTrace | LoadTrace) else list(trace)
    return [p for p in parts if isinstance(p, LoadTrace)], [p for p in parts if isinstance(p, RoutingTrace)]


def _of_loads(parts: Sequence[LoadTrace], ranks: Sequence[int] | None, windows: int) -> Analysis:
    """What counts alone say."""
    trace = side_by_side(parts)
    records, layers, experts = trace.load.shape
    by_window, labels = windows_of(np.ones(records, dtype=bool), trace.steps, windows)
    by_time = np.zeros((len(labels), layers, experts), dtype=np.int64)
    np.add.at(by_time, by_window, trace.load)
    load = by_time.sum(axis=0)
    unknown = np.full((len(labels), layers), np.nan)
    before = unknown.copy()
    before[1:] = measures.distance(by_time[1:], by_time[:-1])
    number = np.bincount(by_window, minlength=len(labels))
    drift = Drift(labels, number, measures.distance(by_time, by_time[:1]), before, unknown, True, "Microbatches")
    return Analysis(
        sources=tuple(each.source for each in parts),
        layer_names=trace.layer_names,
        num_tokens=None,
        left_out=0,
        num_experts=experts,
        num_experts_known=True,
        top_k=None,
        load=load,
        measures={each.name: each.measure(load) for each in measures.LOAD_MEASURES},
        probabilities={},
        experts_per_token=None,
        rank_imbalance={each: measures.rank_imbalance(load, each) for each in _ranks(ranks, experts, inferred=False)},
        co_activation=None,
        pairs=None,
        independent=None,
        pair_tokens=0,
        weight_by_rank=None,
        importance=None,
        domains=None,
        drift=drift if len(labels) > 1 else None,
        agreement=None,
    )


def _ranks(asked: Sequence[int] | None, experts: int, *, inferred: bool) -> list[int]:
    if asked is None:
        return [each for each in RANKS if experts % each == 0]
    for each in asked:
        if each < 1 or experts % each:
            said = "" if not inferred else "; E is taken from the largest expert that occurs, --num-experts says it"
            raise TraceError(f"ranks is {each}, expected a divisor of the number of experts, {experts}{said}")
    return list(dict.fromkeys(asked))
