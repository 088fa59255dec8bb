"""The kernels: one program has a few tokens with all their experts in registers, forward and backward.

Axes: T tokens, t those of a program, E experts, e experts padded to a power of two (each group padded to one, too),
K experts per token, G groups, S = E/G experts of a group.

A rule is what the kernels are compiled with: its steps are functions (`steps.py`), its numbers constants. Nothing is
exchanged between tokens, and a warp has whole rows, so that a maximum over experts stays inside it. Importing this file
imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

from routers.selection.fused.steps import LEAST_KEY, capped, ordered_keys, rounded, through_cap


@triton.jit
def _experts(E: tl.constexpr, G: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_S: tl.constexpr):
    """The expert of each of the e columns, and whether there is one."""
    columns = tl.arange(0, BLOCK_G * BLOCK_S)
    group = columns // BLOCK_S
    place = columns % BLOCK_S
    return group * (E // G) + place, (group < G) & (place < E // G)


@triton.jit
def _in_best_groups(
    keys,
    exists,
    GROUP_SCORE: tl.constexpr,
    G: tl.constexpr,
    GROUPS_KEPT: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_S: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Whether an expert's group stays, (t, e)."""
    grouped = tl.reshape(tl.where(exists, keys, LEAST_KEY), [BLOCK_T, BLOCK_G, BLOCK_S])
    of_groups = GROUP_SCORE(grouped, tl.arange(0, BLOCK_S)[None, None, :], SIZE, DTYPE)
    groups = tl.arange(0, BLOCK_G)[None, :]
    of_groups = tl.where(groups < G, of_groups, LEAST_KEY)
    stays = tl.zeros([BLOCK_T, BLOCK_G], dtype=tl.int32)
    for _ in tl.static_range(GROUPS_KEPT):
        best = tl.max(of_groups, axis=1)
        winner = tl.min(tl.where(of_groups == best[:, None], groups, BLOCK_G), axis=1)
        stays = tl.where(groups == winner[:, None], 1, stays)
        of_groups = tl.where(groups == winner[:, None], LEAST_KEY, of_groups)
    stays = tl.broadcast_to(stays[:, :, None], [BLOCK_T, BLOCK_G, BLOCK_S])
    return tl.reshape(stays, [BLOCK_T, BLOCK_G * BLOCK_S]) > 0


@triton.jit(do_not_specialize=["num_tokens"])
def select_forward(
    logits,
    bias,
    expert_scale,
    selected,
    weights,
    num_tokens,
    SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr,
    WEIGH: tl.constexpr,
    WEIGH_GRADIENT: tl.constexpr,
    GROUP_SCORE: tl.constexpr,
    CAP: tl.constexpr,
    RANKS_SCORES: tl.constexpr,
    G: tl.constexpr,
    GROUPS_KEPT: tl.constexpr,
    MASK: tl.constexpr,
    NORMALISE: tl.constexpr,
    EPSILON: tl.constexpr,
    LEAST_SUM: tl.constexpr,
    SCALE: tl.constexpr,
    E: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_S: tl.constexpr,
    DTYPE: tl.constexpr,
    RANK_DTYPE: tl.constexpr,
):
    """Logits (T, E) -> selected (T, K) int64 and weights (T, K), both contiguous."""
    rows = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    experts, exists = _experts(E, G, BLOCK_G, BLOCK_S)
    columns = tl.arange(0, BLOCK_G * BLOCK_S)[None, :]
    inside = (rows < num_tokens)[:, None] & exists[None, :]
    places = rows.to(tl.int64)[:, None] * E + experts[None, :]
    values = tl.load(logits + places, mask=inside, other=float("-inf")).to(tl.float32)
    values = tl.where(inside, capped(values, CAP, DTYPE), float("-inf"))
    scores = rounded(SCORE(values, DTYPE), DTYPE)
    ranked = scores if RANKS_SCORES else values
    if bias is not None:
        of_experts = tl.load(bias + experts, mask=exists, other=0.0).to(tl.float32)
        ranked = rounded(ranked + of_experts[None, :], RANK_DTYPE)
    keys = ordered_keys(ranked)
    if GROUPS_KEPT < G:
        stays = _in_best_groups(
            keys, exists[None, :], GROUP_SCORE, G, GROUPS_KEPT, E // G, BLOCK_T, BLOCK_G, BLOCK_S, RANK_DTYPE
        )
        keys = tl.where(stays, keys, ordered_keys(tl.full([BLOCK_T, BLOCK_G * BLOCK_S], MASK, tl.float32)))
    keys = tl.where(exists[None, :], keys, LEAST_KEY)
    slots = tl.full([BLOCK_T, BLOCK_G * BLOCK_S], -1, tl.int32)
    for slot in tl.static_range(K):
        best = tl.max(keys, axis=1)
        # Of those that are alike the expert with the lowest index is ranked first.
        winner = tl.min(tl.where(keys == best[:, None], columns, BLOCK_G * BLOCK_S), axis=1)
        slots = tl.where(columns == winner[:, None], slot, slots)
        keys = tl.where(columns == winner[:, None], LEAST_KEY, keys)
    chosen = slots >= 0
    parts = rounded(WEIGH(values, scores, chosen), DTYPE)
    if NORMALISE:
        total = rounded(tl.sum(parts, axis=1), DTYPE)
        total = tl.where(total < LEAST_SUM, LEAST_SUM, total)
        divisor = total + EPSILON if EPSILON > 0 else tl.where(total == 0, 1.0, total)
        parts = rounded(parts / rounded(divisor, DTYPE)[:, None], DTYPE)
    OUT: tl.constexpr = weights.dtype.element_ty
    if expert_scale is not None:
        factors = tl.load(expert_scale + experts, mask=exists, other=0.0).to(tl.float32)
        parts = rounded(parts * factors[None, :], OUT)
    if SCALE != 1.0:
        parts = parts * SCALE
    targets = rows.to(tl.int64)[:, None] * K + slots
    tl.store(selected + targets, tl.broadcast_to(experts[None, :], slots.shape).to(tl.int64), mask=chosen & inside)
    tl.store(weights + targets, parts.to(OUT), mask=chosen & inside)


@triton.jit(do_not_specialize=["num_tokens"])
def select_backward(
    logits,
    expert_scale,
    selected,
    weight_gradients,
    logit_gradients,
    scale_gradients,
    num_tokens,
    SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr,
    WEIGH: tl.constexpr,
    WEIGH_GRADIENT: tl.constexpr,
    GROUP_SCORE: tl.constexpr,
    CAP: tl.constexpr,
    RANKS_SCORES: tl.constexpr,
    G: tl.constexpr,
    GROUPS_KEPT: tl.constexpr,
    MASK: tl.constexpr,
    NORMALISE: tl.constexpr,
    EPSILON: tl.constexpr,
    LEAST_SUM: tl.constexpr,
    SCALE: tl.constexpr,
    E: tl.constexpr,
    K: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_S: tl.constexpr,
    DTYPE: tl.constexpr,
    RANK_DTYPE: tl.constexpr,
):
    """Gradients of the weights (T, K) -> those of the logits (T, E) and, a row for each program, of the factors.

    Scores are made of the logits anew: to read them would cost as much as to read the logits, and nothing keeps them.
    """
    rows = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    experts, exists = _experts(E, G, BLOCK_G, BLOCK_S)
    inside = (rows < num_tokens)[:, None] & exists[None, :]
    places = rows.to(tl.int64)[:, None] * E + experts[None, :]
    values = tl.load(logits + places, mask=inside, other=float("-inf")).to(tl.float32)
    values = tl.where(inside, capped(values, CAP, DTYPE), float("-inf"))
    slots = tl.full([BLOCK_T, BLOCK_G * BLOCK_S], -1, tl.int32)
    gradients = tl.zeros([BLOCK_T, BLOCK_G * BLOCK_S], dtype=tl.float32)
    for slot in tl.static_range(K):
        sources = rows.to(tl.int64) * K + slot
        expert = tl.load(selected + sources, mask=rows < num_tokens, other=-1).to(tl.int32)
        gradient = tl.load(weight_gradients + sources, mask=rows < num_tokens, other=0.0).to(tl.float32)
        here = (experts[None, :] == expert[:, None]) & inside
        slots = tl.where(here, slot, slots)
        gradients = tl.where(here, gradient[:, None], gradients)
    scores = SCORE(values, DTYPE)
    parts = WEIGH(values, scores, slots >= 0)
    gradients = gradients * SCALE
    normalised = parts
    divisor = tl.full([BLOCK_T], 1.0, tl.float32)
    total = tl.sum(parts, axis=1)
    if NORMALISE:
        least = tl.where(total < LEAST_SUM, LEAST_SUM, total)
        divisor = least + EPSILON if EPSILON > 0 else tl.where(least == 0, 1.0, least)
        normalised = parts / divisor[:, None]
    if expert_scale is not None:
        # The other experts' gradients are 0, but a factor may be infinite.
        of_factors = tl.where(slots >= 0, gradients * normalised, 0.0)
        block = scale_gradients + tl.program_id(0).to(tl.int64) * E + experts
        tl.store(block, tl.sum(of_factors, axis=0), mask=exists)
        factors = tl.load(expert_scale + experts, mask=exists, other=0.0).to(tl.float32)
        gradients = tl.where(slots >= 0, gradients * factors[None, :], 0.0)
    if NORMALISE:
        along = tl.sum(gradients * normalised, axis=1)
        along = tl.where(total < LEAST_SUM, 0.0, along)  # a sum that is too small is a constant
        gradients = tl.where(slots >= 0, (gradients - along[:, None]) / divisor[:, None], 0.0)
    gradients = WEIGH_GRADIENT(values, scores, parts, gradients, SCORE_GRADIENT)
    gradients = through_cap(values, gradients, CAP)
    tl.store(logit_gradients + places, gradients.to(logit_gradients.dtype.element_ty), mask=inside)
