"""The parts of a trace as one sequence of tokens, read piece by piece and checked.

Axes: n tokens of a piece, L layers, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.trace import MOST_EXPERTS, NO_EXPERT, Array, RoutingTrace

SLOTS = 1 << 20
"""So many slots, tokens times layers times K, are looked at together; with logits so many of them."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive tokens of one part of a trace, those that do not count left out.

    Attributes:
        experts: (n, L, K), each from 0 to E − 1, or −1 where a slot is empty.
        weights: (n, L, K), or None.
        logits: (n, E) float32 of each layer, or None.
        positions: (n,), the tokens' numbers in the whole trace.
        part: whose they are.
    """

    experts: Array
    weights: Array | None
    logits: list[Array] | None
    positions: Array
    part: RoutingTrace


class Tokens:
    """One trace in one or several parts, such as the files of several requests.

    Args:
        parts: in order.

    Attributes:
        parts: with E known in each.
        num_experts: E, as the parts say, or one more than the largest expert.
        inferred: no part says E.

    Raises:
        TraceError: E, K, L or the layers' names disagree between the parts, or there is no part.
    """

    def __init__(self, parts: RoutingTrace | Sequence[RoutingTrace]) -> None:
        parts = [parts] if isinstance(parts, RoutingTrace) else list(parts)
        if not parts:
            raise TraceError("there is no trace, expected at least one")
        for other in parts[1:]:
            refuse_unlike(parts[0], other)
        said = {each.num_experts for each in parts if each.num_experts is not None}
        self.inferred = not said
        self.num_experts = next(iter(said)) if said else 1 + max(_largest(each) for each in parts)
        if not 0 < self.num_experts <= MOST_EXPERTS:
            raise TraceError(
                f"{parts[0].source}: the largest expert is {self.num_experts - 1:,}, expected 0 to {MOST_EXPERTS - 1:,}"
            )
        self.parts = [replace(each, num_experts=self.num_experts) for each in parts]
        self.ends = np.cumsum([each.num_tokens for each in parts])

    @property
    def first(self) -> RoutingTrace:
        """The first part, which says what all share."""
        return self.parts[0]

    @property
    def num_tokens(self) -> int:
        """T, those that do not count too."""
        return int(self.ends[-1])

    @property
    def source(self) -> str:
        """The names of the files."""
        names = [each.source for each in self.parts]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def column(self, name: str) -> Array | None:
        """A field of one value a token of all parts, (T,); None unless every part has it."""
        found = [getattr(each, name) for each in self.parts]
        return None if any(each is None for each in found) else np.concatenate(found)

    def mask(self) -> Array:
        """(T,) bool: which tokens count."""
        return np.concatenate(
            [np.ones(each.num_tokens, bool) if each.mask is None else each.mask.astype(bool) for each in self.parts]
        )

    def pieces(self) -> Iterator[Piece]:
        """All tokens that count, in order."""
        start = 0
        for part in self.parts:
            width = part.num_layers * (part.top_k if part.logits is None else max(part.top_k, self.num_experts))
            size = max(1, SLOTS // width)
            for first in range(0, part.num_tokens, size):
                yield _piece(part, first, min(first + size, part.num_tokens), start)
            start += part.num_tokens

    def rows(self, first: int, last: int) -> Array:
        """The experts of the tokens with these numbers in the whole trace, checked: (last − first, L, K)."""
        found = []
        for part, end in zip(self.parts, self.ends, strict=True):
            start = int(end) - part.num_tokens
            if first < end and last > start:
                found.append(_checked(part, max(first, start) - start, min(last, int(end)) - start))
        return found[0] if len(found) == 1 else np.concatenate(found)


def refuse_unlike(one: RoutingTrace, other: RoutingTrace) -> None:
    """Raise a TraceError where two traces are not of the same layers, E and K."""
    for name, label in (("num_layers", "layers"), ("top_k", "K"), ("num_experts", "experts")):
        ours, theirs = getattr(one, name), getattr(other, name)
        if ours != theirs and None not in (ours, theirs):
            raise TraceError(f"{other.source}: {label}: {theirs}, expected {ours} as in {one.source}")
    if one.layer_names != other.layer_names:
        place = next(i for i, (a, b) in enumerate(zip(one.layer_names, other.layer_names, strict=True)) if a != b)
        raise TraceError(
            f"{other.source}: layer {place} is called {other.layer_names[place]!r}, expected "
            f"{one.layer_names[place]!r} as in {one.source}"
        )


def _largest(part: RoutingTrace) -> int:
    size = max(1, SLOTS // (part.num_layers * part.top_k))
    return max(int(part.experts[first : first + size].max()) for first in range(0, part.num_tokens, size))


def _piece(part: RoutingTrace, first: int, last: int, start: int) -> Piece:
    experts = _checked(part, first, last)
    keep = slice(None) if part.mask is None else part.mask[first:last].astype(bool)
    weights = None if part.weights is None else np.asarray(part.weights[first:last])[keep]
    logits = None
    if part.logits is not None:
        logits = [
            _finite_logits(np.asarray(layer[first:last], dtype=np.float32)[keep], part, name, first)
            for layer, name in zip(part.logits, part.layer_names, strict=True)
        ]
    if weights is not None and not np.isfinite(weights).all():
        token, layer, slot = (int(each[0]) for each in np.nonzero(~np.isfinite(weights)))
        place = f"token {first + token}, layer {part.layer_names[layer]}, rank {slot}"
        raise TraceError(f"{part.source}: {place}: weight {weights[token, layer, slot]}, expected a finite number")
    return Piece(experts[keep], weights, logits, np.arange(start + first, start + last)[keep], part)


def _finite_logits(logits: Array, part: RoutingTrace, layer: str, first: int) -> Array:
    """−∞ is how an expert is ruled out; NaN and +∞ are no logits."""
    wrong = ~(logits.max(axis=-1, initial=-np.inf) < np.inf) | np.isneginf(logits).all(axis=-1)
    if wrong.any():
        token = int(np.nonzero(wrong)[0][0])
        value = next(each for each in logits[token] if not each < np.inf or np.isneginf(each))
        raise TraceError(f"{part.source}: token {first + token}, layer {layer}: logit {value}, expected finite numbers")
    return logits


def _checked(part: RoutingTrace, first: int, last: int) -> Array:
    """Experts of some tokens, each within 0 to E − 1, or −1 where that is allowed, and none twice."""
    experts = np.asarray(part.experts[first:last])
    lowest = NO_EXPERT if part.empty_slots else 0
    highest = (part.num_experts or 0) - 1
    if experts.size and (int(experts.min()) < lowest or int(experts.max()) > highest):
        token, layer, slot = (int(each[0]) for each in np.nonzero((experts < lowest) | (experts > highest)))
        hint = "" if part.empty_slots or experts[token, layer, slot] != NO_EXPERT else " (--empty-slots allows −1)"
        raise TraceError(
            f"{part.source}: token {first + token}, layer {part.layer_names[layer]}, rank {slot}: expert "
            f"{experts[token, layer, slot]}, expected 0 to {highest}{hint}"
        )
    by_slot = np.ascontiguousarray(experts.transpose(2, 0, 1))  # K planes, which compare faster than rows of K
    for slot in range(1, part.top_k):
        twice = (by_slot[:slot] == by_slot[slot]).any(axis=0)
        if part.empty_slots:
            twice &= by_slot[slot] != NO_EXPERT
        if twice.any():
            token, layer = (int(each[0]) for each in np.nonzero(twice))
            raise TraceError(
                f"{part.source}: token {first + token}, layer {part.layer_names[layer]}: expert "
                f"{by_slot[slot, token, layer]} twice, expected K different ones"
            )
    return experts
