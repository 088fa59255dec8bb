"""What a kernel does with a block of tokens: scores, groups, ranking, weights. Importing this file imports numba.

Axes: L tokens of a block (lanes), E experts, K experts per token, G groups.

Tokens are the last axis everywhere, so that a step takes as many of them at once as a vector holds, and no decision of
one token makes another one wait. All arrays are float32 unless a step says otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from routers.native.compiled import step
from routers.selection.native.plan import GROUP_SCORES, SCORES, WEIGHTS

_SOFTMAX, _SIGMOID, _SQRT_SOFTPLUS, _RELU = (SCORES[name] for name in ("softmax", "sigmoid", "sqrt_softplus", "relu"))
_OVER_SELECTED, _SIGMOID_OF_SELECTED = WEIGHTS["softmax"], WEIGHTS["sigmoid"]
_TOP2_SUM = GROUP_SCORES["top2_sum"]
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_LOWEST = np.float32(-np.inf)
_LEAST_KEY, _NAN_KEY, _MAGNITUDE = np.int32(-(1 << 31)), np.int32((1 << 31) - 1), np.int32((1 << 31) - 1)
# 2ⁿ·eʳ with |r| at most half of log 2, which is subtracted in two parts; coefficients of Cephes' expf.
_LOG2_E, _LOG_2_HIGH, _LOG_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_C0, _C1, _C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C3, _C4, _C5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_SMALLEST, _LARGEST, _INFINITY = np.float32(-87.0), np.float32(88.0), np.float32(np.inf)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)
_SEVERAL, _MANY = 32, 3 << 10
"""From so many tokens on, and up to so many experts times K, K maxima in vectors are faster than a branch an expert."""


@step
def exp(x: Any) -> Any:
    """e^x to two units of the last place, without a branch, so that it is done in vectors; 0 below e⁻⁸⁷."""
    inside = min(max(x, _SMALLEST), _LARGEST)
    whole = np.floor(inside * _LOG2_E + _HALF)
    r = inside - whole * _LOG_2_HIGH - whole * _LOG_2_LOW
    power = (((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _C5) * (r * r) + r + _ONE
    found = power * np.int32((np.int32(whole) + _BIAS) << _MANTISSA).view(np.float32)
    found = _ZERO if x < _SMALLEST else found
    found = _INFINITY if x > _LARGEST else found
    return found if x == x else x


@step
def _sigmoid(x: Any) -> Any:
    return _ONE / (_ONE + exp(-x))


@step
def cap(limit: Any, values: Any) -> None:
    """c·tanh(ℓ/c), (E, L) in place."""
    for expert in range(values.shape[0]):
        for lane in range(values.shape[1]):
            values[expert, lane] = limit * math.tanh(values[expert, lane] / limit)


@step
def score(kind: Any, values: Any, scores: Any, room: Any) -> None:
    """Scores of logits, (E, L) -> (E, L). Room: (L,)."""
    if kind == _SOFTMAX:
        scores[:] = values
        softmax(scores, room)
    elif kind == _SIGMOID:
        for expert in range(values.shape[0]):
            for lane in range(values.shape[1]):
                scores[expert, lane] = _sigmoid(values[expert, lane])
    elif kind == _RELU:
        for expert in range(values.shape[0]):
            for lane in range(values.shape[1]):
                value = values[expert, lane]
                scores[expert, lane] = _ZERO if value < _ZERO else value
    elif kind == _SQRT_SOFTPLUS:
        for expert in range(values.shape[0]):
            for lane in range(values.shape[1]):
                value = values[expert, lane]  # log(1 + e^ℓ) without overflow; a NaN stays one
                positive = _ZERO if value < _ZERO else value
                scores[expert, lane] = math.sqrt(positive + math.log1p(math.exp(-abs(value))))


@step
def softmax(values: Any, room: Any) -> None:
    """Over the first axis, (N, L) in place: of one array the compiler knows that no other overlaps it. Room: (L,)."""
    room[:] = values[0]
    for row in range(1, values.shape[0]):
        for lane in range(values.shape[1]):
            value = values[row, lane]
            room[lane] = value if value > room[lane] else room[lane]
    for row in range(values.shape[0]):
        for lane in range(values.shape[1]):
            values[row, lane] = exp(values[row, lane] - room[lane])
    room[:] = _ZERO
    for row in range(values.shape[0]):
        for lane in range(values.shape[1]):
            room[lane] += values[row, lane]
    for row in range(values.shape[0]):
        for lane in range(values.shape[1]):
            values[row, lane] /= room[lane]


@step
def _key(value: Any) -> Any:
    """A whole number in the order of the values; NaN is above all, as for `torch.topk`, and the two zeros are alike."""
    bits = np.float32(value + _ZERO).view(np.int32)
    key = np.int32(bits ^ (np.int32(bits >> np.int32(31)) & _MAGNITUDE))
    return key if value == value else _NAN_KEY


@step
def rank(values: Any, keys: Any, best: Any, index: Any) -> None:
    """The largest of each token's values in order, (N, L) -> (K, L) places; of those that are alike the lowest first.

    Args:
        values: (N, L).
        keys: (N or more, L) int32, room.
        best: (L,) int32, room.
        index: (K, L) int32, what is written.
    """
    for row in range(values.shape[0]):
        for lane in range(values.shape[1]):
            keys[row, lane] = _key(values[row, lane])
    if values.shape[1] < _SEVERAL or values.shape[0] * index.shape[0] > _MANY:
        _insert(keys, values.shape[0], index)
    else:
        _repeat_maxima(keys, values.shape[0], best, index)


@step
def _insert(keys: Any, rows: Any, index: Any) -> None:
    """Token by token: each key goes to its place among those before it, if it has one."""
    last = index.shape[0] - 1
    top = np.empty(last + 1, np.int32)
    for lane in range(keys.shape[1]):
        found = 0
        for row in range(rows):
            key = keys[row, lane]
            slot = found if found <= last else last
            if found <= last:
                found += 1
            elif key <= top[last]:
                continue
            while slot > 0 and key > top[slot - 1]:
                top[slot] = top[slot - 1]
                index[slot, lane] = index[slot - 1, lane]
                slot -= 1
            top[slot] = key
            index[slot, lane] = row


@step
def _repeat_maxima(keys: Any, rows: Any, best: Any, index: Any) -> None:
    """All tokens at once: K times the largest key, which is then put out."""
    for slot in range(index.shape[0]):
        best[:] = _LEAST_KEY
        index[slot, :] = 0
        for row in range(rows):
            for lane in range(keys.shape[1]):
                key = keys[row, lane]
                above = key > best[lane]
                best[lane] = key if above else best[lane]
                index[slot, lane] = np.int32(row) if above else index[slot, lane]
        for lane in range(keys.shape[1]):
            keys[index[slot, lane], lane] = _LEAST_KEY


@step
def mask_groups(kind: Any, mask: Any, ranked: Any, of_groups: Any, keys: Any, best: Any, index: Any, room: Any) -> None:
    """Put the mask in the place of the experts whose group does not stay.

    Args:
        kind: of a group's score.
        mask: the value.
        ranked: (E, L), changed in place.
        of_groups: (G, L), room, as all that follows.
        keys: (G or more, L) int32.
        best: (L,) int32.
        index: (groups kept, L) int32.
        room: (L,).
    """
    size = ranked.shape[0] // of_groups.shape[0]
    for group in range(of_groups.shape[0]):
        room[:] = _LOWEST
        of_groups[group, :] = _LOWEST
        for row in range(group * size, (group + 1) * size):
            for lane in range(ranked.shape[1]):
                value, first = ranked[row, lane], of_groups[group, lane]
                above = value > first or value != value  # a NaN stays
                lower = first if above else value
                of_groups[group, lane] = value if above else first
                room[lane] = lower if lower > room[lane] else room[lane]
        if kind == _TOP2_SUM and size > 1:
            for lane in range(ranked.shape[1]):
                of_groups[group, lane] += room[lane]
    rank(of_groups, keys, best, index)
    for group in range(of_groups.shape[0]):
        best[:] = 0
        for slot in range(index.shape[0]):
            for lane in range(ranked.shape[1]):
                best[lane] = np.int32(1) if index[slot, lane] == group else best[lane]
        for row in range(group * size, (group + 1) * size):
            for lane in range(ranked.shape[1]):
                ranked[row, lane] = ranked[row, lane] if best[lane] else mask


@step
def weigh(rule: Any, values: Any, index: Any, weights: Any, room: Any) -> None:
    """Weights of the selected from their scores or their logits, (E, L) and (K, L) int32 -> (K, L). Room: (L,)."""
    for slot in range(weights.shape[0]):
        for lane in range(weights.shape[1]):
            weights[slot, lane] = values[index[slot, lane], lane]
    if rule.weigh == _OVER_SELECTED:
        softmax(weights, room)
    elif rule.weigh == _SIGMOID_OF_SELECTED:
        for slot in range(weights.shape[0]):
            for lane in range(weights.shape[1]):
                weights[slot, lane] = _sigmoid(weights[slot, lane])
    if rule.normalise:
        least, epsilon = np.float32(rule.least_sum), np.float32(rule.epsilon)
        room[:] = _ZERO
        for slot in range(weights.shape[0]):
            for lane in range(weights.shape[1]):
                room[lane] += weights[slot, lane]
        for lane in range(weights.shape[1]):
            total = least if room[lane] < least else room[lane]
            room[lane] = total + epsilon if epsilon > _ZERO else (_ONE if total == _ZERO else total)
        for slot in range(weights.shape[0]):
            for lane in range(weights.shape[1]):
                weights[slot, lane] /= room[lane]
    factor = np.float32(rule.scale)
    if factor != _ONE:
        for slot in range(weights.shape[0]):
            for lane in range(weights.shape[1]):
                weights[slot, lane] *= factor
