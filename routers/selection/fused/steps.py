"""The steps of a selection rule inside the kernels, each a Triton function by the name that a rule's field has.

Axes: t tokens of a program, e experts padded to a power of two, G groups. Values are float32 whatever the logits' dtype
is, and rounded to the rule's own after each step, as the eager path's are. Importing this file imports triton.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import triton
import triton.language as tl

LEAST_KEY = tl.constexpr(-0x80000000)
"""Of what must not be selected: a key below that of −∞."""
NAN_KEY = tl.constexpr(0x7FFFFFFF)


@triton.jit
def rounded(values, DTYPE: tl.constexpr):
    """Values as DTYPE can hold them."""
    return values.to(DTYPE).to(tl.float32)


@triton.jit
def ordered_keys(values):
    """Whole numbers in the order of float32 values: NaN is the largest, as torch's topk has it, and −0 equals 0.

    Whole numbers have two advantages: NaN compares like any other, and a warp takes their maximum in one instruction.
    """
    bits = tl.where(values == 0.0, 0.0, values).to(tl.int32, bitcast=True)
    return tl.where(values == values, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits), NAN_KEY)


@triton.jit
def values_of_keys(keys):
    """The inverse of `ordered_keys`."""
    return tl.where(keys < 0, keys ^ 0x7FFFFFFF, keys).to(tl.float32, bitcast=True)


@triton.jit
def _tanh(values):
    # (1 − e^−2|x|) / (1 + e^−2|x|) loses what is small, of which four terms of the series are exact.
    size = tl.abs(values)
    square = values * values
    small = values * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))))
    power = tl.exp(-2.0 * size)
    large = (1.0 - power) / (1.0 + power)
    return tl.where(size < 0.125, small, tl.where(values < 0, -large, large))


@triton.jit
def capped(values, CAP: tl.constexpr, DTYPE: tl.constexpr):
    """c·tanh(ℓ/c), or the values themselves where there is no cap."""
    if CAP is not None:
        values = rounded(CAP * rounded(_tanh(rounded(values / CAP, DTYPE)), DTYPE), DTYPE)
    return values


@triton.jit
def through_cap(values, gradients, CAP: tl.constexpr):
    """Gradients of capped values (t, e) -> those of the logits."""
    if CAP is not None:
        gradients = gradients * (1.0 - (values / CAP) * (values / CAP))
    return gradients


@triton.jit
def _softmax(values, DTYPE: tl.constexpr):
    powers = tl.exp(values - tl.max(values, axis=1)[:, None])
    return powers / tl.sum(powers, axis=1)[:, None]


@triton.jit
def _through_softmax(values, scores, gradients):
    # −∞ and what pads the experts have a score of 0, and nothing of the others' gradient.
    return scores * (gradients - tl.sum(scores * gradients, axis=1)[:, None])


@triton.jit
def _sigmoid(values, DTYPE: tl.constexpr):
    return 1.0 / (1.0 + tl.exp(-values))


@triton.jit
def _through_sigmoid(values, scores, gradients):
    return gradients * scores * (1.0 - scores)


@triton.jit
def _sqrt_softplus(values, DTYPE: tl.constexpr):
    # log(1 + e^x) = max(x, 0) + log(1 + t) with t = e^−|x|, and log(1 + t) = 2 artanh(t / (2 + t)): at most 1/3, for
    # which eight terms are exact to float32. A logarithm of 1 + t would lose what is small in t.
    power = tl.exp(-tl.abs(values))
    z = power / (2.0 + power)
    y = z * z
    series = 1.0 / 11.0 + y * (1.0 / 13.0 + y * (1.0 / 15.0))
    series = 1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0 + y * series))))
    softplus = rounded(tl.where(values > 0, values, 0.0) + 2.0 * z * series, DTYPE)
    return tl.sqrt(softplus)


@triton.jit
def _through_sqrt_softplus(values, scores, gradients):
    # A score that is rounded to 0 has no finite slope, and passes nothing, as in the eager path.
    positive = scores > 0
    slopes = 0.5 / (1.0 + tl.exp(-values)) / tl.where(positive, scores, 1.0)
    return tl.where(positive, gradients * slopes, 0.0)


@triton.jit
def _relu(values, DTYPE: tl.constexpr):
    return tl.where(values < 0, 0.0, values)


@triton.jit
def _through_relu(values, scores, gradients):
    return tl.where(values > 0, gradients, 0.0)


@triton.jit
def _identity(values, DTYPE: tl.constexpr):
    return values


@triton.jit
def _through_identity(values, scores, gradients):
    return gradients


@triton.jit
def _scores_of_chosen(values, scores, chosen):
    return tl.where(chosen, scores, 0.0)


@triton.jit
def _through_scores(values, scores, parts, gradients, SCORE_GRADIENT: tl.constexpr):
    return SCORE_GRADIENT(values, scores, gradients)


@triton.jit
def _softmax_of_chosen(values, scores, chosen):
    of_chosen = tl.where(chosen, values, float("-inf"))
    powers = tl.where(chosen, tl.exp(of_chosen - tl.max(of_chosen, axis=1)[:, None]), 0.0)
    return powers / tl.sum(powers, axis=1)[:, None]


@triton.jit
def _through_softmax_of_chosen(values, scores, parts, gradients, SCORE_GRADIENT: tl.constexpr):
    return parts * (gradients - tl.sum(parts * gradients, axis=1)[:, None])


@triton.jit
def _sigmoid_of_chosen(values, scores, chosen):
    return tl.where(chosen, 1.0 / (1.0 + tl.exp(-values)), 0.0)


@triton.jit
def _through_sigmoid_of_chosen(values, scores, parts, gradients, SCORE_GRADIENT: tl.constexpr):
    return gradients * parts * (1.0 - parts)


@triton.jit
def _largest(keys, places, SIZE: tl.constexpr, DTYPE: tl.constexpr):
    return tl.max(keys, axis=2)


@triton.jit
def _sum_of_two_largest(keys, places, SIZE: tl.constexpr, DTYPE: tl.constexpr):
    largest = tl.max(keys, axis=2)
    if SIZE == 1:
        return largest
    first = tl.min(tl.where(keys == largest[:, :, None], places, 0x7FFFFFFF), axis=2)
    second = tl.max(tl.where(places == first[:, :, None], LEAST_KEY, keys), axis=2)
    return ordered_keys(rounded(values_of_keys(largest) + values_of_keys(second), DTYPE))


class Step(NamedTuple):
    """A step and what passes its gradients back."""

    forward: Callable[..., Any]
    gradient: Callable[..., Any]


SCORES = {
    "softmax": Step(_softmax, _through_softmax),
    "sigmoid": Step(_sigmoid, _through_sigmoid),
    "sqrt_softplus": Step(_sqrt_softplus, _through_sqrt_softplus),
    "relu": Step(_relu, _through_relu),
    "identity": Step(_identity, _through_identity),
}
"""(values (t, e), dtype) -> scores (t, e); (values, scores, gradients of the scores) -> those of the values."""

WEIGHTS = {
    "scores": Step(_scores_of_chosen, _through_scores),
    "softmax": Step(_softmax_of_chosen, _through_softmax_of_chosen),
    "sigmoid": Step(_sigmoid_of_chosen, _through_sigmoid_of_chosen),
}
"""(values, scores, which are chosen) -> weights before they are normalised, 0 of the others; and their gradients."""

GROUP_SCORES = {"max": _largest, "top2_sum": _sum_of_two_largest}
"""(keys (t, G, e/G), places in the row, experts of a group, dtype) -> keys of the groups (t, G)."""
