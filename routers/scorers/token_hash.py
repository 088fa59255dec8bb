"""Router by token id with learned weights. Axes: T tokens, D hidden size, E experts, K experts per token, V ids."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers.logit_router import LogitRouter
from routers.parameters import normal_parameter
from routers.precision import as_parameter_dtype
from routers.registry import register_router
from routers.routing import Routing
from routers.routing.mask import flat_mask
from routers.routing.token_ids import flat_token_ids, look_up


@register_router("token_hash")
class TokenHashRouter(LogitRouter):
    """A token's K experts stand in a table under its id; how they are weighed is learned: ℓ = W x of those K.

    The first layers of DeepSeek-V4, with `selection="deepseek_v4"`. The rule makes the weights, and a bias in its
    ranking has no say. Where no ids are given the rule selects as of any other router: a benchmark that has hidden
    states alone measures that. D·E parameters.

    Args:
        table: (V, K) integers, the experts of each id, no expert twice in a row; drawn from the seed unless given.
        vocab_size: V, of a table that is drawn; 4,096 unless given.
        seed: draws the table; 0 unless given.
        **sizes_and_options: see `Router`.

    Raises:
        ValueError: no id, or a table that is no tensor of whole numbers, or of another K, or with an expert that there
            is not or that stands twice in a row.
    """

    measured_by_default = False
    expert_of_id: Tensor

    def __init__(
        self,
        *,
        table: Tensor | None = None,
        vocab_size: int | None = None,
        seed: int | None = None,
        **sizes_and_options: Any,
    ) -> None:
        super().__init__(**sizes_and_options)
        size = 4096 if vocab_size is None else vocab_size
        if size < 1:
            raise ValueError(f"vocab_size is {size}, expected at least 1")
        # Zeros in a rule that ranks with a bias: what the table says is not to be balanced.
        self.selection_bias = None
        self.weight = normal_parameter(self.num_experts, self.hidden_size)
        if table is not None and (not isinstance(table, Tensor) or table.is_floating_point()):
            what = table.dtype if isinstance(table, Tensor) else type(table).__name__
            raise ValueError(f"table is {what}, expected a tensor of whole numbers")
        found = draw_table(size, self.num_experts, self.top_k, seed or 0) if table is None else table.long()
        # A drawn one is drawn anew from the seed, so that it is no part of the saved state.
        self.register_buffer("expert_of_id", self._checked(found), persistent=table is not None)
        given = {"table": table, "vocab_size": vocab_size, "seed": seed}
        self._of_a_table = tuple(name for name, value in given.items() if value is not None)

    def _checked(self, table: Tensor) -> Tensor:
        if table.dim() != 2 or table.shape[1] != self.top_k:
            raise ValueError(f"table has shape {tuple(table.shape)}, expected (ids, top_k = {self.top_k})")
        in_order = table.sort(dim=1).values
        if table.numel() and not 0 <= int(in_order.min()) <= int(in_order.max()) < self.num_experts:
            held = f"{int(in_order.min())} to {int(in_order.max())}"
            raise ValueError(f"table holds {held}, expected 0 to {self.num_experts - 1}")
        if bool((in_order[:, 1:] == in_order[:, :-1]).any()):
            raise ValueError("table has an expert twice in a row, expected K different ones for each id")
        return table

    @property
    def layer_options(self) -> tuple[str, ...]:
        """As of every router; and a table is of token ids, which a language model's gate is not given."""
        return (*super().layer_options, *self._of_a_table)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """W x, (…, D) -> (…, E)."""
        return F.linear(as_parameter_dtype(hidden_states, self.weight), self.weight)

    def forward(self, hidden_states: Tensor, *, token_ids: Tensor | None = None, mask: Tensor | None = None) -> Routing:
        """Route a batch, see `Router.forward`.

        Raises:
            ValueError: token_ids of other tokens or outside the table, or with a rule of groups, which may mask what
                the table says.
        """
        if token_ids is None:
            routing: Routing = super().forward(hidden_states, mask=mask)
            return routing
        if self.selection.groups_left < self.selection.num_groups:
            raise ValueError(f"token_ids are given with {self.selection}, expected a rule without groups")
        tokens, ids = self.flatten(hidden_states), flat_token_ids(token_ids, hidden_states.shape)
        logits = self.selection.in_precision(self.compute_router_logits(tokens))
        if self.check_finite:
            self.refuse_overflow("the largest logit is", logits.amax(dim=-1, keepdim=True))
        outside = torch.ones_like(logits, dtype=torch.bool).scatter(1, look_up(self.expert_of_id, ids), False)
        return self.select(logits=logits.masked_fill(outside, -torch.inf)).masked(flat_mask(mask, hidden_states.shape))


def draw_table(vocab_size: int, num_experts: int, top_k: int, seed: int) -> Tensor:
    """K different experts for each id, all as often but for chance, (V, K) int64, the same on every machine."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.rand(vocab_size, num_experts, generator=generator, device="cpu").topk(top_k, dim=1).indices
