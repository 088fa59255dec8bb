"""Auxiliary losses of a router, pure functions. Axes: T tokens, E experts, K experts per token.

`router_probs` (T, E), `selected_experts` (T, K). `mask` (T,) bool or None: where a token does not count, as padding,
nothing of it is in a loss, and a mask that leaves no token makes a loss 0. `kept` (T, K) bool or None: where a slot is
not (`TokenChoice.kept`), it is no assignment. Fractions f are counts, without a gradient; the gradient reaches the
router through the probabilities. Each docstring states the value at perfect balance, because the literature scales the
same loss in several ways.
"""

from __future__ import annotations

from torch import Tensor

from routers.metric import Observed, metric
from routers.metrics import expert_load
from routers.routing.mask import masked_mean


def importance(router_probs: Tensor, mask: Tensor | None = None) -> Tensor:
    """P_e, the mean probability of each expert over the tokens that count, equation (16): (T, E) -> (E,)."""
    return masked_mean(router_probs, mask)


def _slots(selected_experts: Tensor, mask: Tensor | None, kept: Tensor | None) -> Tensor | None:
    """Which of the (T, K) slots count; None if all do."""
    if mask is None:
        return kept
    of_tokens = mask.unsqueeze(1).expand_as(selected_experts)
    return of_tokens if kept is None else of_tokens & kept


def _load(router_probs: Tensor, selected_experts: Tensor, mask: Tensor | None, kept: Tensor | None) -> Tensor:
    """f_e of the tokens whose probabilities these are: (T, E), (T, K) -> (E,)."""
    if len(router_probs) != len(selected_experts):
        raise ValueError(f"router_probs are of {len(router_probs)} tokens, selected_experts of {len(selected_experts)}")
    return expert_load(selected_experts, router_probs.shape[-1], _slots(selected_experts, mask, kept))


def load_balancing_loss(
    router_probs: Tensor,
    selected_experts: Tensor,
    alpha: float = 0.01,
    *,
    mask: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """α Σ f_e P_e, equation (17), without the factor E. At balance: α/E, 0.00125 for E = 8, as the paper prints.

    Examples:
        >>> import torch
        >>> probs = torch.full((4, 2), 0.5)  # four tokens, two experts
        >>> float(load_balancing_loss(probs, torch.tensor([[0], [1], [0], [1]]), alpha=1.0))
        0.5
    """
    mean_probs = importance(router_probs, mask)
    return alpha * (_load(router_probs, selected_experts, mask, kept) * mean_probs).sum()


@metric(
    "Auxiliary loss",
    "α Σ f P with α = 0.01: f an expert's share of assignments, P its mean probability",
    lambda seen: (seen,),
    name="aux_loss",
    bounds=(0, None),
    format=".5f",
)
def observed_load_balancing_loss(seen: Observed) -> Tensor:
    """Equation (17) of what was observed; written with the loads, it holds without `selected_experts` as well."""
    if seen.selected_experts is not None and seen.kept is None:
        return load_balancing_loss(seen.router_probs, seen.selected_experts)
    return 0.01 * (seen.load * importance(seen.router_probs)).sum()


def importance_squared_loss(
    router_probs: Tensor,
    selected_experts: Tensor,
    alpha: float = 0.01,
    *,
    mask: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """α E Σ f_e P_e², equation (18). At balance: α/E."""
    num_experts, mean_probs = router_probs.shape[-1], importance(router_probs, mask)
    return alpha * num_experts * (_load(router_probs, selected_experts, mask, kept) * mean_probs.square()).sum()


def switch_loss(
    router_probs: Tensor,
    selected_experts: Tensor,
    alpha: float = 0.01,
    *,
    mask: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """α E Σ f_e P_e with f = n/(K·T), Fedus et al. 2021, equation 4. At balance: α, whatever K, as in Megatron-LM."""
    return router_probs.shape[-1] * load_balancing_loss(router_probs, selected_experts, alpha, mask=mask, kept=kept)


def switch_loss_per_token(
    router_probs: Tensor,
    selected_experts: Tensor,
    alpha: float = 0.01,
    *,
    mask: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """As `switch_loss` with f = n/T, Hugging Face's count. At balance: α·K, or α times the mean number that is kept."""
    slots = _slots(selected_experts, mask, kept)
    tokens = len(selected_experts) if mask is None else mask.sum().clamp_min(1)
    per_token = selected_experts.shape[-1] if slots is None else slots.sum() / tokens
    return per_token * switch_loss(router_probs, selected_experts, alpha, mask=mask, kept=kept)


@metric(
    "Z-loss",
    "mean over tokens of the squared log of the sum of the exponentials of the logits; of a router without logits none",
    lambda seen: None if seen.logits is None else (seen.logits,),
    bounds=(0, None),
    format=".4f",
)
def z_loss(router_logits: Tensor | None, mask: Tensor | None = None) -> Tensor:
    """Mean over tokens of logsumexp(ℓ)², Zoph et al. 2022, equation 5: (T, E) -> (). At logits of zero: (ln E)².

    Of `Routing.logits`. The logits that `Routing.router_logits` makes of a router that has probabilities alone are
    log p, whose loss is 0 whatever the router does.

    Raises:
        ValueError: there are no logits.
    """
    if router_logits is None:
        raise ValueError("router_logits is None: of a router that has probabilities alone the z-loss is not defined")
    return masked_mean(router_logits.logsumexp(dim=-1).square(), mask)
