"""The kernels as one differentiable step, which imports triton. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from routers.selection.fused import launch
from routers.selection.fused.path import give_up
from routers.selection.fused.plan import plan_of
from routers.selection.rule import SelectionRule


def fused_select(
    rule: SelectionRule, top_k: int, logits: Tensor, bias: Tensor | None, expert_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`FusedSelect`, without the host's time for it where nothing wants a gradient."""
    wanted = logits.requires_grad or (expert_scale is not None and expert_scale.requires_grad)
    if wanted and torch.is_grad_enabled():
        selected, weights = FusedSelect.apply(rule, top_k, logits, bias, expert_scale)  # type: ignore[no-untyped-call]
        return selected, weights
    return launch.select(plan_of(rule, logits.shape[-1], top_k), logits, bias, expert_scale)


class FusedSelect(torch.autograd.Function):
    """(rule, K, logits (T, E), bias (E,), expert_scale (E,)) -> selected (T, K) int64, weights (T, K).

    The weights have gradients to the logits and the factors, once: a second derivative is an error that says so. The
    bias acts on the order alone and has none.
    """

    @staticmethod
    def forward(
        ctx: Any, rule: SelectionRule, top_k: int, logits: Tensor, bias: Tensor | None, expert_scale: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        plan = plan_of(rule, logits.shape[-1], top_k)
        selected, weights = launch.select(plan, logits, bias, expert_scale)
        ctx.rule, ctx.plan = rule, plan
        ctx.save_for_backward(logits, expert_scale, selected)
        ctx.mark_non_differentiable(selected)
        return selected, weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Tensor, weight_gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the logits and of the factors; by the eager steps where the kernel fails."""
        logits, expert_scale, selected = ctx.saved_tensors
        try:
            found = launch.gradients(ctx.plan, logits, expert_scale, selected, weight_gradients)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # as in the forward: no mistake of the user's
            give_up(error)
            found = _eager_gradients(ctx.rule, logits, expert_scale, selected, weight_gradients)
        return None, None, found[0], None, found[1]


def _eager_gradients(
    rule: SelectionRule, logits: Tensor, expert_scale: Tensor | None, selected: Tensor, weight_gradients: Tensor
) -> tuple[Tensor, Tensor | None]:
    with torch.enable_grad():
        leaves = [each.detach().requires_grad_() for each in (logits, expert_scale) if each is not None]
        weights = rule.weigh(leaves[0], selected, *leaves[1:])
    of_logits, *of_factors = torch.autograd.grad(weights, leaves, weight_gradients)
    return of_logits, of_factors[0] if of_factors else None
