"""Auxiliary losses of a router, pure functions. Axes: T tokens, E experts, K experts per token.

`router_probs` (T, E), `selected_experts` (T, K). Fractions f are counts, without a gradient; the gradient reaches the
router through the probabilities. Each docstring states the value at perfect balance, because the literature scales the
same loss in several ways.
"""

from __future__ import annotations

from torch import Tensor

from routers.metric import Observed, metric
from routers.metrics import expert_load


def importance(router_probs: Tensor) -> Tensor:
    """P_e, the mean probability of each expert, equation (16): (T, E) -> (E,)."""
    return router_probs.mean(dim=0)


def load_balancing_loss(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """α Σ f_e P_e, equation (17), without the factor E. At balance: α/E, 0.00125 for E = 8, as the paper prints."""
    load = expert_load(selected_experts, router_probs.shape[-1])
    return alpha * (load * importance(router_probs)).sum()


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
    if seen.selected_experts is not None:
        return load_balancing_loss(seen.router_probs, seen.selected_experts)
    return 0.01 * (seen.load * importance(seen.router_probs)).sum()


def importance_squared_loss(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """α E Σ f_e P_e², equation (18). At balance: α/E."""
    num_experts = router_probs.shape[-1]
    load = expert_load(selected_experts, num_experts)
    return alpha * num_experts * (load * importance(router_probs).square()).sum()


def switch_loss(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """α E Σ f_e P_e with f = n/(K·T), Fedus et al. 2021, equation 4. At balance: α, whatever K, as in Megatron-LM."""
    return router_probs.shape[-1] * load_balancing_loss(router_probs, selected_experts, alpha)


def switch_loss_per_token(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """As `switch_loss` with f = n/T, Hugging Face's count. At balance: α·K."""
    return selected_experts.shape[-1] * switch_loss(router_probs, selected_experts, alpha)


def z_loss(router_logits: Tensor) -> Tensor:
    """Mean over tokens of logsumexp(ℓ)², Zoph et al. 2022, equation 5: (T, E) -> (). At logits of zero: (ln E)²."""
    return router_logits.logsumexp(dim=-1).square().mean()
