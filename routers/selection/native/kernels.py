"""The kernel: a rule on all tokens. Importing this file imports numba.

Axes: T tokens, L tokens of a block, E experts, K experts per token.

Tensors come as addresses, and a rule as a record of numbers, so that what is compiled once serves every rule at every
size.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from routers.native.addresses import floats, pointer, words
from routers.native.compiled import kernel, source_stamp, step
from routers.selection.native.plan import NUMBERS, SCORES, WEIGHTS
from routers.selection.native.steps import cap, mask_groups, rank, score, weigh

_IDENTITY, _BY_SCORES = SCORES["identity"], WEIGHTS["scores"]
_LANES, _VALUES = 256, 1 << 14
"""The most tokens of a block, and the most logits (64 kB): a block is read K times, out of the caches of its core."""
_VECTOR = 16


@step
def _select(rule: Any, logits: Any, token_stride: Any, expert_stride: Any, bias: Any, selected: Any, out: Any) -> None:
    """Carry out the rule on all tokens, block by block. A bias of no values: none."""
    experts, top_k, count = rule.num_experts, rule.top_k, selected.shape[0]
    lanes = min(count, _LANES, max(_VALUES // experts // _VECTOR, 1) * _VECTOR)
    masks = rule.groups_kept < rule.num_groups
    for start in range(0, count, lanes):
        size = min(lanes, count - start)
        values, keys = np.empty((experts, size), np.float32), np.empty((experts, size), np.int32)
        index, weights = np.empty((top_k, size), np.int32), np.empty((top_k, size), np.float32)
        best, room = np.empty(size, np.int32), np.empty(size, np.float32)
        for expert in range(experts):
            first = start * token_stride + expert * expert_stride
            if token_stride == 1:
                for lane in range(size):
                    values[expert, lane] = logits[first + lane]
            else:
                for lane in range(size):
                    values[expert, lane] = logits[first + lane * token_stride]
        if rule.soft_cap > 0:
            cap(np.float32(rule.soft_cap), values)
        scores = values
        if rule.score != _IDENTITY:
            scores = np.empty((experts, size), np.float32)
            score(rule.score, values, scores, room)
        ranked = scores if rule.ranks_scores else values
        if masks or len(bias):
            ranked = ranked.copy()
            if len(bias):
                for expert in range(experts):
                    for lane in range(size):
                        ranked[expert, lane] += bias[expert]
            if masks:
                of_groups = np.empty((rule.num_groups, size), np.float32)
                stay = np.empty((rule.groups_kept, size), np.int32)
                mask = np.float32(rule.group_mask)
                mask_groups(rule.group_score, mask, ranked, of_groups, keys, best, stay, room)
        rank(ranked, keys, best, index)
        weigh(rule, scores if rule.weigh == _BY_SCORES else values, index, weights, room)
        for slot in range(top_k):
            for lane in range(size):
                selected[start + lane, slot] = index[slot, lane]
                out[start + lane, slot] = weights[slot, lane]


def _make(stamp: str) -> Any:
    @kernel(8)
    def select(
        plan: Any,
        logits: Any,
        token_stride: Any,
        expert_stride: Any,
        bias: Any,
        selected: Any,
        weights: Any,
        count: Any,
    ) -> None:
        """Logits (T, E) -> selected (T, K) int64 and weights (T, K).

        Args:
            plan: the address of a rule's numbers, a record of `NUMBERS`.
            logits: address.
            token_stride: of the logits, in values.
            expert_stride: likewise.
            bias: (E,) of the ranking, contiguous, or 0.
            selected: address of what is written, contiguous.
            weights: likewise.
            count: T, at least 1.
        """
        _ = stamp
        rule = numba.carray(pointer(plan), 1, NUMBERS)[0]
        experts, shape = rule.num_experts, (count, rule.top_k)
        rows = floats(logits, (count - 1) * token_stride + (experts - 1) * expert_stride + 1)
        ranking = floats(bias, experts if bias else 0)
        _select(rule, rows, token_stride, expert_stride, ranking, words(selected, shape), floats(weights, shape))

    return select


select = _make(source_stamp(__file__))
