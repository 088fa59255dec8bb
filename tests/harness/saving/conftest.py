"""A router of a user's own, one of whose options is a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from routers import temporary_router
from routers.scorers.linear import LinearRouter


class PriorRouter(LinearRouter):
    """Adds fixed logits (E) to a linear router's."""

    def __init__(self, *, prior: torch.Tensor | None = None, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        self.register_buffer("prior", prior, persistent=False)

    def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        logits = super().compute_router_logits(hidden_states)
        return logits if self.prior is None else logits + self.prior


@pytest.fixture(autouse=True)
def prior_router() -> Iterator[None]:
    with temporary_router("prior", PriorRouter):
        yield
