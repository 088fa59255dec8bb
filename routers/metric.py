"""The record of a metric: how it is measured of a routing, and what is to be said of it.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from routers.routing import Routing, TokenChoice

Bound = float | Literal["ln E", "E - 1", "1 - 1/E"] | None
"""An end of a metric's range: a number, a word for what follows from the number of experts, or None for no bound."""

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class Observed:
    """What a metric is measured of: a batch's routing, and the output of the layer behind it.

    Tokens that do not count (`Routing.mask`) are in none of the properties.

    Attributes:
        routing: of T tokens.
        layer_output: (T', D), of the layer with the first T' tokens, or None where there was no layer.
    """

    routing: Routing
    layer_output: Tensor | None

    @property
    def output(self) -> Tensor:
        """(T', D); a single NaN where there was no layer."""
        if self.layer_output is None:
            return torch.full((1, 1), torch.nan)
        return self._counted(self.layer_output)

    @property
    def router_probs(self) -> Tensor:
        """(T, E)."""
        return self._counted(self.routing.router_probs)

    @property
    def logits(self) -> Tensor | None:
        """(T, E), or None of a router that has probabilities alone."""
        return None if self.routing.logits is None else self._counted(self.routing.logits)

    @property
    def selected_experts(self) -> Tensor | None:
        """(T, K), or None of a routing that is no token choice."""
        return self._counted(self.routing.selected_experts) if isinstance(self.routing, TokenChoice) else None

    @property
    def kept(self) -> Tensor | None:
        """(T, K), which of those are kept, or None if all are."""
        kept = self.routing.kept if isinstance(self.routing, TokenChoice) else None
        return None if kept is None else self._counted(kept)

    @property
    def tokens_per_expert(self) -> Tensor:
        """(E,) counts."""
        return self.routing.tokens_per_expert

    @property
    def experts_per_token(self) -> tuple[Tensor] | None:
        """(T,) counts of the tokens' experts; None of a routing that does not say it."""
        found = self.routing.experts_per_token
        return None if found is None else (found,)

    @property
    def load(self) -> Tensor:
        """(E,) shares of assignments; zeros where no token has an expert, as under a threshold that none reaches."""
        return self.tokens_per_expert / self.tokens_per_expert.sum().clamp_min(1)

    def _counted(self, values: Tensor) -> Tensor:
        mask = self.routing.mask
        return values if mask is None else values[mask[: len(values)]]

    @property
    def probs_and_k(self) -> tuple[Tensor, int] | None:
        """Router probabilities (T, E) and the router's own K; None of a routing that has no K."""
        selected = self.selected_experts
        return None if selected is None else (self.router_probs, selected.shape[1])


@dataclass(frozen=True)
class Metric:
    """A metric of routers.

    Attributes:
        name: in the JSON.
        label: the heading of its column.
        definition: in words, for the middle of a sentence.
        measure: what was observed -> a tensor of one number, NaN where the metric is not defined of it.
        unit: of the number, or None.
        bounds: the lowest and the highest value that it can have.
        better: "lower" or "higher", or None where neither is better by itself.
        format: how a table shows it, a Python format specification.
        paper: a definition of the paper's that would mislead elsewhere: shown in its tables alone.
    """

    name: str
    label: str
    definition: str
    measure: Callable[[Observed], Tensor]
    unit: str | None = None
    bounds: tuple[Bound, Bound] = (None, None)
    better: Literal["lower", "higher"] | None = None
    format: str = ".3f"
    paper: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The metric's record in the JSON."""
        return {
            "label": self.label,
            "definition": self.definition,
            "unit": self.unit,
            "range": list(self.bounds),
            "better": self.better,
            "format": self.format,
        } | ({"paper": True} if self.paper else {})


METRICS: dict[str, Metric] = {}
"""All metrics by name, in the order in which tables show them."""


def metric(
    label: str,
    definition: str,
    arguments: Callable[[Observed], tuple[Any, ...] | None],
    *,
    name: str | None = None,
    **about: Any,
) -> Callable[[AnyFunction], AnyFunction]:
    """A decorator that makes a function known as a metric, under its own name unless another is given.

    Args:
        label: the heading of its column.
        definition: in words, for the middle of a sentence.
        arguments: what was observed -> what the function is called with, or None where the metric is not defined.
        name: in the JSON.
        **about: unit, bounds, better, format, paper.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: AnyFunction) -> AnyFunction:
        known = name or function.__name__
        if known in METRICS:
            raise ValueError(f"metric {known!r} is already registered")

        def measure(seen: Observed) -> Tensor:
            found = arguments(seen)
            return torch.tensor(torch.nan) if found is None else function(*found)

        METRICS[known] = Metric(known, label, definition, measure, **about)
        return function

    return register
