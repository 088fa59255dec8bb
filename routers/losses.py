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


def _load(router_probs: Tensor, selected_experts: Tensor) -> Tensor:
    """f_e of the tokens whose probabilities these are: (T, E), (T, K) -> (E,)."""
    if len(router_probs) != len(selected_experts):
        raise ValueError(f"router_probs are of {len(router_probs)} tokens, selected_experts of {len(selected_experts)}")
    return expert_load(selected_experts, router_probs.shape[-1])


def load_balancing_loss(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """α Σ f_e P_e, equation (17), without the factor E. At balance: α/E, 0.00125 for E = 8, as the paper prints."""
    load = _load(router_probs, selected_experts)
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
    load = _load(router_probs, selected_experts)
    return alpha * num_experts * (load * importance(router_probs).square()).sum()


def switch_loss(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """α E Σ f_e P_e with f = n/(K·T), Fedus et al. 2021, equation 4. At balance: α, whatever K, as in Megatron-LM."""
    return router_probs.shape[-1] * load_balancing_loss(router_probs, selected_experts, alpha)


def switch_loss_per_token(router_probs: Tensor, selected_experts: Tensor, alpha: float = 0.01) -> Tensor:
    """As `switch_loss` with f = n/T, Hugging Face's count. At balance: α·K."""
    return selected_experts.shape[-1] * switch_loss(router_probs, selected_experts, alpha)


@metric(
    "Z-loss",
    "mean over tokens of the squared log of the sum of the exponentials of the logits; of a router without logits none",
    lambda seen: None if seen.routing.logits is None else (seen.routing.logits,),
    bounds=(0, None),
    format=".4f",
)
def z_loss(router_logits: Tensor | None) -> Tensor:
    """Mean over tokens of logsumexp(ℓ)², Zoph et al. 2022, equation 5: (T, E) -> (). At logits of zero: (ln E)².

    Of `Routing.logits`. The logits that `Routing.router_logits` makes of a router that has probabilities alone are
    log p, whose loss is 0 whatever the router does.

    Raises:
        ValueError: there are no logits.
    """
    if router_logits is None:
        raise ValueError("router_logits is None: of a router that has probabilities alone the z-loss is not defined")
    return router_logits.logsumexp(dim=-1).square().mean()
