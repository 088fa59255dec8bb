"""Router: the contract that every variant keeps.

Axes: B batch, S sequence, T = B·S tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from routers.routing import Routing, StraightThrough, TokenChoice, expert_softmax

INITIAL_STD = 0.02


class Router(nn.Module, ABC):
    """Maps hidden states to routing probabilities, and those to a `Routing`.

    A variant writes `compute_router_probabilities`, the paper's own contract (section III-B1). A variant that has
    logits derives from `LogitRouter` instead and writes `compute_router_logits`.

    Args:
        hidden_size: D.
        num_experts: E.
        top_k: K, experts selected per token.
        norm_topk_prob: divide the K weights by their sum, equation (14).
        straight_through: pass gradients to all experts (`StraightThrough`).
        check_finite: refuse NaN and infinity with a ValueError. Off by default because it reads the whole input once
            more; a token with a NaN then gets NaN probabilities (hash: those of its bits) and an unspecified selection,
            other tokens are not affected.

    Raises:
        ValueError: a size below 1, or K > E.
    """

    deterministic_per_token = True
    """A token's probabilities depend on that token alone. A variant whose definition forbids it says False."""

    def __init__(
        self,
        hidden_size: int,
        num_experts: int,
        top_k: int,
        *,
        norm_topk_prob: bool = True,
        straight_through: bool = False,
        check_finite: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("hidden_size", hidden_size), ("num_experts", num_experts), ("top_k", top_k)):
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        if top_k > num_experts:
            raise ValueError(f"top_k is {top_k}, expected at most num_experts = {num_experts}")
        self.hidden_size = hidden_size
        self.num_experts = num_experts
        self.top_k = top_k
        self.norm_topk_prob = norm_topk_prob
        self.straight_through = straight_through
        self.check_finite = check_finite

    @property
    def tolerance(self) -> float:
        """How far a probability may be from the float64 reference: float32's rounding, or that of a coarser kernel."""
        return 1e-5

    @abstractmethod
    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """Routing probabilities (…, D) -> (…, E), float32 on the simplex whatever the input's dtype.

        A router in float64 gives float64 for float64 input, which the reference computation needs.
        """

    def forward(self, hidden_states: Tensor, **side_inputs: Any) -> Routing:
        """Route a batch.

        Args:
            hidden_states: (T, D) or (B, S, D).
            **side_inputs: offered to every router, `token_ids` for one; a variant whose definition needs one overrides
                this method and takes it, the others ignore it.

        Returns:
            the routing of the T tokens, in order.

        Raises:
            ValueError: the last axis is not D, or, with `check_finite`, a value is NaN or infinite.
        """
        return self.select(probs=self.compute_router_probabilities(self.flatten(hidden_states)))

    def unmasked_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits of all experts, (T, D) -> (T, E), with a gradient for each: what a router is fitted by.

        A variant that masks experts before its softmax overrides this; log p, of one that has no logits.
        """
        return self(hidden_states).router_logits  # type: ignore[no-any-return]  # nn.Module calls are Any

    def flatten(self, hidden_states: Tensor) -> Tensor:
        """Checked tokens, (T, D) or (B, S, D) -> (T, D)."""
        if hidden_states.dim() not in (2, 3) or hidden_states.shape[-1] != self.hidden_size:
            raise ValueError(
                f"hidden_states have shape {tuple(hidden_states.shape)}, "
                f"expected (tokens, {self.hidden_size}) or (batch, sequence, {self.hidden_size})"
            )
        tokens = hidden_states.reshape(-1, self.hidden_size)
        if self.check_finite:
            refuse_non_finite(tokens)
        return tokens

    def select(self, *, probs: Tensor | None = None, logits: Tensor | None = None) -> TokenChoice:
        """Top-K of (T, E) probabilities, or of logits, whose order is the same (equation 13)."""
        scores = probs if probs is not None else logits
        assert scores is not None
        top_scores, selected_experts = scores.topk(self.top_k, dim=-1)
        if probs is not None:
            weights = top_scores
            if self.norm_topk_prob:
                weights = weights / weights.sum(dim=-1, keepdim=True)
        elif self.norm_topk_prob:
            # p_i / Σ p_j over the selected equals the softmax over their logits alone: the full one is not needed.
            weights = softmax_of_sorted(top_scores)
        else:
            weights = torch.exp(top_scores - scores.logsumexp(dim=-1, keepdim=True))
        kind = StraightThrough if self.straight_through else TokenChoice
        return kind(
            self.num_experts, probs=probs, logits=logits, selected_experts=selected_experts, routing_weights=weights
        )

    def extra_repr(self) -> str:
        """Sizes for `print(router)`."""
        return f"hidden_size={self.hidden_size}, num_experts={self.num_experts}, top_k={self.top_k}"


class LogitRouter(Router):
    """A router whose probabilities are the softmax of logits. Selects on the logits, which is exact and cheaper."""

    @abstractmethod
    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits (…, D) -> (…, E), in the router's own dtype; selection and softmax see them in float32 at least."""

    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """Softmax of the logits, (…, D) -> (…, E)."""
        return expert_softmax(self.compute_router_logits(hidden_states))

    def forward(self, hidden_states: Tensor, **side_inputs: Any) -> Routing:
        """Route a batch, see `Router.forward`; full probabilities are computed only when asked for."""
        return self.select(logits=at_least_float32(self.compute_router_logits(self.flatten(hidden_states))))


def softmax_of_sorted(logits: Tensor) -> Tensor:
    """Softmax over a last axis whose largest value comes first: (T, K) -> (T, K).

    Written out because torch's own takes twice the time over so short an axis.
    """
    exponentials = torch.exp(logits - logits[..., :1].detach())
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def as_parameter_dtype(hidden_states: Tensor, parameter: Tensor) -> Tensor:
    """The hidden states in the router's own dtype: a float32 router computes in float32 inside a bfloat16 model."""
    return hidden_states.to(parameter.dtype)


def at_least_float32(logits: Tensor) -> Tensor:
    """Low-precision logits in float32, so that the softmax and the selection lose nothing more."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def refuse_non_finite(tokens: Tensor) -> None:
    """Raise a ValueError that names the first token of (T, D) with a NaN or an infinity, and how many there are."""
    bad = (~torch.isfinite(tokens)).any(dim=-1).nonzero()
    if len(bad):
        raise ValueError(
            f"hidden_states hold NaN or infinity in {len(bad)} of {len(tokens)} tokens, first {int(bad[0])}"
        )


def normal_parameter(*shape: int) -> nn.Parameter:
    """A parameter drawn from N(0, 0.02²), BERT's and the paper's initialisation."""
    return nn.Parameter(torch.randn(*shape) * INITIAL_STD)


def normal_linear(in_features: int, out_features: int, *, bias: bool) -> nn.Linear:
    """A linear map with weights from N(0, 0.02²) and a zero bias."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
