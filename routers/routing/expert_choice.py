"""Each expert chooses tokens. Axes: T tokens, D hidden size, E experts, C tokens per expert, N expert rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from routers.routing.routing import Routing


@dataclass(frozen=True, eq=False)
class ExpertChoice(Routing):
    """Each expert takes C tokens, so that the load is even; a token may be taken by any number of experts, or by none.

    Zhou et al. 2022, "Mixture-of-Experts with Expert Choice Routing", equations 1 to 3. In a compiled graph every place
    sends a row, because its shapes are fixed; that of a place which is not kept is 0.

    Attributes:
        num_tokens: T.
        chosen_tokens: (E, C) int64.
        routing_weights: (E, C) float32; the gradient reaches the router through them.
        kept: (E, C) bool, or None if all places are taken. A place that is not (there is padding, and the tokens that
            count are too few for it) sends no row and has a weight of 0.
    """

    num_tokens: int = field(kw_only=True)
    chosen_tokens: Tensor = field(kw_only=True)
    routing_weights: Tensor = field(kw_only=True)
    kept: Tensor | None = field(default=None, kw_only=True)

    @property
    def tokens_per_expert(self) -> Tensor:
        """(E,) int64."""
        if self.kept is not None:
            return self.kept.sum(dim=1)
        num_experts, capacity = self.chosen_tokens.shape
        return torch.full((num_experts,), capacity, dtype=torch.int64, device=self.chosen_tokens.device)

    @property
    def unserved_tokens(self) -> Tensor:
        """() int64, the tokens that count and that no expert took."""
        return (self.experts_per_token == 0).sum()

    @property
    def experts_per_token(self) -> Tensor:
        """(T',) int64, how many experts took each token that counts."""
        places = torch.ones_like(self.chosen_tokens) if self.kept is None else self.kept.long()
        taken = places.new_zeros(self.num_tokens).scatter_add(0, self.chosen_tokens.flatten(), places.flatten())
        return taken if self.mask is None else taken[self.mask]

    def _places(self) -> Tensor | None:
        """Which of the E·C places send a row; None where all do."""
        return None if self.kept is None or torch.compiler.is_compiling() else self.kept.flatten()

    def dispatch(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of each token for each expert that took it, N = E·C less the places that are not kept."""
        num_experts, capacity = self.chosen_tokens.shape
        expert_index = torch.arange(num_experts, device=hidden_states.device).repeat_interleave(capacity)
        tokens, places = self.chosen_tokens.flatten(), self._places()
        if places is not None:
            return hidden_states[tokens[places]], expert_index[places]
        rows = hidden_states[tokens]
        return rows if self.kept is None else rows.where(self.kept.reshape(-1, 1), 0.0), expert_index

    def combine(self, expert_outputs: Tensor) -> Tensor:
        """y_t = Σ w_ec · output_ec over the places that token t has; 0 of a token that none took.

        The rows are added up where their tokens are: on a GPU by atomics, whose order and rounding may differ by run.
        """
        tokens, weights, places = self.chosen_tokens.flatten(), self.routing_weights.flatten(), self._places()
        if places is not None:
            tokens, weights = tokens[places], weights[places]
        elif self.kept is not None:
            expert_outputs = expert_outputs.where(self.kept.reshape(-1, 1), 0.0)
        output = expert_outputs.new_zeros(self.num_tokens, expert_outputs.shape[-1])
        return output.index_add(0, tokens, weights.to(expert_outputs.dtype).unsqueeze(1) * expert_outputs)
