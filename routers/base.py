"""Router: the contract that every variant keeps.

Axes: B batch, S sequence, T = B·S tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from routers.precision import (
    at_least_float32,
    in_float32,
    in_own_dtype,
    log_of_probabilities,
    refuse_non_finite,
)
from routers.reference.routing import ReferenceRouting, TokenReference
from routers.routing import Routing, StraightThrough, TokenChoice, expert_softmax
from routers.routing.mask import flat_mask
from routers.selection import SelectionRule, get_selection_rule
from routers.selection.paths import choose_selection_path

_DECIDING = ("forward", "compute_router_logits", "compute_router_probabilities", "unmasked_logits")


class Router(nn.Module, ABC):
    """Maps hidden states to routing probabilities, and those to a `Routing`: a scorer and a selection rule.

    A variant writes `compute_router_probabilities`, the paper's own contract (section III-B1). A variant that has
    logits derives from `LogitRouter` instead and writes `compute_router_logits`. A router decides in its own dtype,
    inside `torch.autocast` too.

    Args:
        hidden_size: D.
        num_experts: E.
        top_k: K, experts selected per token.
        selection: the rule by which experts are selected and weighed, or its name (`list_selection_rules`); the softmax
            by default. A rule whose ranking has a bias gives the router a buffer `selection_bias` (E,), zeros at
            first, which no gradient trains and which stays in float32 at least whatever the router is cast to; one
            with a factor for each expert gives it a parameter `expert_scale` (E,), ones at first.
        norm_topk_prob: divide the K weights by their sum, equation (14); as the rule says unless given. With K = 1 that
            makes the weight 1 whatever the router does, so that a task gives it a gradient of exactly 0; a warning says
            so once, and a balancing loss or norm_topk_prob=False is what such a router can learn from.
        straight_through: pass gradients to all experts (`StraightThrough`), in an `MoELayer`.
        check_finite: refuse with a ValueError what is not finite, or does not stay so: NaN and infinity in the input;
            a token whose values, or the sum of whose squares, the router's dtype (for the sum float32 at least) cannot
            hold, as from 1e19 on in float32, where a LayerNorm and a unit length are wrong without being NaN; logits,
            probabilities and lengths that overflow on the way. Off by default because it reads the whole input more
            often. Without it a token with a NaN gets NaN probabilities (hash: those of its bits), one that overflows
            NaN or wrong ones, both an unspecified selection; other tokens are not affected.
        **rule_fields: other values of the rule's fields, see `SelectionRule`: num_groups=8, groups_kept=4.

    Raises:
        ValueError: a size below 1, K > E, an unknown rule, or one that the sizes do not suit.
        TypeError: an option that neither the router nor a rule has.
    """

    selection_bias: Tensor | None
    expert_scale: nn.Parameter | None

    weights_sum_to_one = False
    """The K weights sum to one whatever `norm_topk_prob`: a variant whose definition makes them do so says True."""
    deterministic_per_token = True
    """A token's probabilities depend on that token alone. A variant whose definition forbids it says False."""
    selects_by_itself = False
    """No selection rule has a say in which experts are selected. A variant whose definition says so says True."""
    is_token_choice = True
    """Its routing is a `TokenChoice`, as a language model's block needs. A variant whose routing is not says False."""
    measured_by_default = True
    """`pytest bench` measures it unasked. A router beyond the paper says False and is measured where it is named."""
    random_in_training = False
    """In training mode the answer depends on torch's generator. A variant whose definition says so says True."""
    masks_logits = False
    """It masks all but its K largest logits before the softmax. A variant whose definition says so says True, and
    overrides `unmasked_logits`."""
    reference: Callable[[Any], list[TokenReference] | ReferenceRouting] | None = None
    """The float64 reference of a definition that no selection rule describes: a method, hidden states (T, D) -> what is
    right, written without the fast code. None for the selection rule's own (`routers/reference/check.py`)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Here and not in `__call__`, because a variant's methods are called one by one too.
        super().__init_subclass__(**kwargs)
        for name in _DECIDING:
            if name in vars(cls):
                setattr(cls, name, in_own_dtype(vars(cls)[name]))

    def __init__(
        self,
        hidden_size: int,
        num_experts: int,
        top_k: int,
        *,
        selection: SelectionRule | str | None = None,
        norm_topk_prob: bool | None = None,
        straight_through: bool = False,
        check_finite: bool = False,
        **rule_fields: Any,
    ) -> None:
        super().__init__()
        if norm_topk_prob is not None:
            rule_fields["norm_topk_prob"] = norm_topk_prob
        try:
            rule = get_selection_rule("softmax" if selection is None else selection, **rule_fields)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__} has no such option, and {error}") from None
        if self.selects_by_itself and replace(rule, norm_topk_prob=True) != SelectionRule():
            raise ValueError(f"selection is {rule}, expected none: {type(self).__name__} selects by itself")
        if straight_through and not self.is_token_choice:
            raise ValueError(
                f"straight_through is True, expected False: {type(self).__name__} selects no token's experts"
            )
        for name, value in (("hidden_size", hidden_size), ("num_experts", num_experts), ("top_k", top_k)):
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        if top_k > num_experts:
            raise ValueError(f"top_k is {top_k}, expected at most num_experts = {num_experts}")
        self.hidden_size = hidden_size
        self.num_experts = num_experts
        self.top_k = top_k
        rule.check_sizes(num_experts, top_k)
        self.selection = rule
        self.register_buffer("selection_bias", torch.zeros(num_experts) if rule.has_bias else None)
        self.expert_scale = nn.Parameter(torch.ones(num_experts)) if rule.expert_scale else None
        self.straight_through = straight_through
        self.check_finite = check_finite

    @property
    def norm_topk_prob(self) -> bool:
        """Whether the rule divides a token's weights by their sum."""
        return self.selection.norm_topk_prob

    @property
    def tolerance(self) -> float:
        """How far a probability may be from the float64 reference: float32's rounding, or that of a coarser kernel."""
        return 1e-5

    @property
    def layer_options(self) -> tuple[str, ...]:
        """The options in effect that act in an `MoELayer` alone, and which a language model's gate cannot have."""
        return ("straight_through",) if self.straight_through else ()

    @abstractmethod
    def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
        """Routing probabilities (…, D) -> (…, E), float32 on the simplex whatever the input's dtype.

        A router in float64 gives float64 for float64 input, which the reference computation needs.
        """

    @in_own_dtype
    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch.

        Args:
            hidden_states: (T, D) or (B, S, D).
            token_ids: (T,) or (B, S), offered to every router; one whose definition needs them overrides this method,
                the others ignore them. A variant may take more keywords; one that it does not take is a TypeError.
            mask: (T,) or (B, S) bool, True where the token counts; padding sends no row to an expert and counts in
                nothing.

        Returns:
            the routing of the T tokens, in order.

        Raises:
            ValueError: the last axis is not D, the mask is of other tokens, or as `check_finite` says.
        """
        probs = self.in_rules_dtype(self.compute_router_probabilities, self.flatten(hidden_states))
        self.refuse_overflow("a probability is", probs)
        return self.select(probs=probs).masked(flat_mask(mask, hidden_states.shape))

    @in_own_dtype
    def unmasked_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits of all experts, (T, D) -> (T, E), with a gradient for each: what a router is fitted by.

        A variant that masks experts before its softmax overrides this; log p, of one that has no logits.
        """
        tokens = self.flatten(hidden_states)
        return log_of_probabilities(self.in_rules_dtype(self.compute_router_probabilities, tokens))

    def in_rules_dtype(self, scorer: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """What one of the router's own methods makes of tokens (T, D), computed in float32 where the rule says so.

        A router in less than that, of a rule whose product is in float32, multiplies with its parameters in float32.
        """
        if self.selection.precision != "float32":
            return scorer(tokens)
        return in_float32(self, scorer, tokens)

    def flatten(self, hidden_states: Tensor) -> Tensor:
        """Checked tokens, (T, D) or (B, S, D) -> (T, D)."""
        shape = hidden_states.shape
        if len(shape) not in (2, 3) or shape[-1] != self.hidden_size:
            raise ValueError(
                f"hidden_states have shape {tuple(shape)}, "
                f"expected (tokens, {self.hidden_size}) or (batch, sequence, {self.hidden_size})"
            )
        tokens = hidden_states if len(shape) == 2 else hidden_states.reshape(-1, self.hidden_size)
        if self.check_finite:
            refuse_non_finite(tokens)
            floats = (tensor.dtype for tensor in (*self.parameters(), *self.buffers()) if tensor.is_floating_point())
            dtype = next(floats, torch.float32)
            self.refuse_overflow(f"in {dtype} the squared length is", at_least_float32(tokens.to(dtype)).square())
        return tokens

    def refuse_overflow(self, what: str, values: Tensor) -> None:
        """With `check_finite`, raise a ValueError that names the first token whose values (T, N) have no finite sum."""
        if self.check_finite:
            bad = (~torch.isfinite(values.sum(dim=-1))).nonzero()
            if len(bad):
                raise ValueError(
                    f"{what} not finite in {len(bad)} of {len(values)} tokens, first {int(bad[0])}: hidden_states are "
                    "too large, or weights are no numbers"
                )

    def select(self, *, probs: Tensor | None = None, logits: Tensor | None = None) -> TokenChoice:
        """What the selection rule makes of (T, E) logits, or of probabilities, of which it sees the logarithm."""
        rule = self.selection
        if not rule.is_softmax_top_k:
            return self._select_by_rule(probs, logits)
        if logits is not None and (path := choose_selection_path(rule, logits, self.top_k)) is not None:
            found = path.select(rule, logits, self.top_k, None, None)
            return self._token_choice(found.selected_experts, found.routing_weights, probs=probs, logits=logits)
        # Top-K of the probabilities, or of the logits, whose order is the same (equation 13).
        scores = probs if probs is not None else logits
        assert scores is not None
        top_scores, selected_experts = scores.topk(self.top_k, dim=-1)
        if probs is not None:
            weights = top_scores
            if rule.norm_topk_prob:
                # By slot and not by token: a sum over a short last axis is slow on a CPU.
                weights = top_scores / top_scores.t().contiguous().sum(dim=0).unsqueeze(1)
        elif rule.norm_topk_prob:
            # p_i / Σ p_j over the selected equals the softmax over their logits alone: the full one is not needed.
            weights = expert_softmax(top_scores)
        else:
            weights = expert_softmax(scores).gather(-1, selected_experts)
        if rule.scale != 1.0:
            weights = weights * rule.scale
        return self._token_choice(selected_experts, weights, probs=probs, logits=logits)

    def _select_by_rule(self, probs: Tensor | None, logits: Tensor | None) -> TokenChoice:
        seen = log_of_probabilities(probs) if logits is None and probs is not None else logits
        assert seen is not None
        found = self.selection.carry_out(seen, self.top_k, self.selection_bias, self.expert_scale)
        return self._token_choice(
            found.selected_experts,
            at_least_float32(found.routing_weights),
            logits=logits,
            kept=found.kept,
            **found.of_all_experts(self.selection),
        )

    def _token_choice(self, selected_experts: Tensor, weights: Tensor, **found: Any) -> TokenChoice:
        if self.top_k == 1 and weights.requires_grad:
            self._warn_of_no_gradient()
        kind = StraightThrough if self.straight_through else TokenChoice
        return kind.of(
            num_experts=self.num_experts, selected_experts=selected_experts, routing_weights=weights, **found
        )

    def _warn_of_no_gradient(self) -> None:
        sums_to_one = self.selection.weights_sum_to_one or self.weights_sum_to_one
        if sums_to_one and not self.straight_through and not torch.compiler.is_compiling():
            # Always from this line, so that Python shows it once.
            warnings.warn(
                "with top_k = 1 and weights that sum to one a router's weight is always 1, and the task gives it no "
                "gradient; norm_topk_prob=False or a balancing loss does",
                stacklevel=1,
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        bias = self.selection_bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        cast = self.selection_bias
        if bias is not None and cast is not None and cast.dtype.itemsize < bias.dtype.itemsize <= 4:
            # Steps of 1e-3 would be lost in half precision: `.to(torch.bfloat16)` moves the bias and does not round it.
            self.selection_bias = bias.to(cast.device)
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # Beside the version that torch notes there: no tensor, so that keys are what they were.
        if (metadata := getattr(destination, "_metadata", {}).get(prefix[:-1])) is not None:
            metadata["top_k"] = self.top_k

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, *lists: list[str]
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)
        if (saved := local_metadata.get("top_k", self.top_k)) != self.top_k:
            lists[-1].append(f"{prefix}top_k is {self.top_k}, its state was saved with {saved}")

    def extra_repr(self) -> str:
        """Sizes for `print(router)`."""
        sizes = f"hidden_size={self.hidden_size}, num_experts={self.num_experts}, top_k={self.top_k}"
        return sizes if self.selection == SelectionRule() else f"{sizes}, selection={self.selection}"
