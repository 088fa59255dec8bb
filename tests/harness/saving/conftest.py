"""A router of a user's own, one of whose options is a tensor; two savings at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
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


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Carries two savings out, neither of which puts a file in place before the other is about to, where it may be."""

    def carry_out(*savings: Callable[[], None]) -> None:
        replace, met = os.replace, Barrier(len(savings))

        def replace_later(*paths: Any) -> None:
            with suppress(BrokenBarrierError):
                met.wait(0.5)
            replace(*paths)

        monkeypatch.setattr(os, "replace", replace_later)
        with ThreadPoolExecutor() as pool:
            for saved in [pool.submit(saving) for saving in savings]:
                saved.result()

    return carry_out
