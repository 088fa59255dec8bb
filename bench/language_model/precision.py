"""What a precision does to the decisions of routers inside a language model, on the activations at its own layers.

Axes: B passages, S tokens of each, T = S, D hidden size, E experts, L layers with experts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.language_model.models import LoadedModel
from bench.language_model.shared_weights import make_shared_copy
from bench.router.precision import Changes, Decisions, changes_of, combine_precision, failed, stats_of, why_undefined
from bench.router.seeds import derive_seed
from harness.replacement.calibration import watch_gates
from harness.replacement.injection import Replacement, replace_routers
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from routers.precision_metrics import Decision, decide

OF_LAYERS = ("changed_tokens", "flip_rate", "rank_margin_median")
"""The quantities that are said of each layer; of all layers together every quantity is."""


@dataclass(frozen=True, eq=False)
class Activations:
    """What the gates of a language model are given while it reads a text with its own gates in place.

    Attributes:
        model: a copy of it that shares its weights, in which routers are put.
        passages: path of a block -> (B, S, D) float32.
    """

    model: nn.Module
    passages: dict[str, Tensor]

    @classmethod
    def record(cls, loaded: LoadedModel, passages: int, length: int) -> Activations:
        """Read B passages of S tokens of the held-out text, once."""
        model = make_shared_copy(loaded.model)
        gates = {block.name: block.gate for block in find_moe_blocks(model)}
        lessons = watch_gates(model, gates, list(loaded.read(passages, length).cpu()))
        shape = (passages, length, -1)
        return cls(model, {name: lesson.hidden_states.float().view(shape) for name, lesson in lessons.items()})

    @torch.no_grad()
    def observe(self, router: str, seed: int) -> dict[str, Any]:
        """Routers of a seed on the passage of its number, layer by layer and all layers together.

        Args:
            router: registered, drawn at random; or "stock": linear routers with the weights and the rule of its gates.
            seed: of routers and passage.

        Returns:
            as `observe_precision`, and the changes of each layer.
        """
        try:
            with self._replaced(router, seed) as replacement:
                of_layers = {swap.block.name: self._decide(swap, seed) for swap in replacement.replaced}
        except Exception as error:  # as in `observe_precision`
            return failed(error) | {"layers": {}}
        layers = {name: changes_of(decisions) for name, decisions in of_layers.items()}
        pooled = _pooled(of_layers.values())
        return {"undefined": why_undefined(pooled), "compared": changes_of(pooled), "layers": layers}

    def _replaced(self, router: str, seed: int) -> Replacement:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("router", seed))
            if router == STOCK:
                return replace_routers(self.model, "linear", initialise="original")
            return replace_routers(self.model, router, initialise="random")

    def _decide(self, swap: Any, seed: int) -> Decisions:
        """What one of the routers decides; its gate may have to prepare what the block gives it."""
        hidden_states = swap.gate.form.prepare(self.passages[swap.block.name][seed])
        return decide(swap.router, hidden_states, seed=seed)


def _pooled(of_layers: Iterable[Decisions]) -> Decisions:
    """The tokens of all layers one after the other."""
    several = list(of_layers)
    return {
        name: (
            Decision.concatenate(decisions[name][0] for decisions in several),
            Decision.concatenate(decisions[name][1] for decisions in several),
        )
        for name in several[0]
    }


def combine_layers(observed: list[dict[str, Any]]) -> dict[str, Any]:
    """The observations of several seeds as the JSON's `behaviour` of an entry inside a language model."""
    layers = {
        layer: stats_of([_of_layer(each["layers"].get(layer, {})) for each in observed])
        for layer in observed[0]["layers"]
    }
    precision = combine_precision(observed)
    return {
        "seeds": list(range(len(observed))),
        "precision": None if precision is None else precision | {"layers": layers},
    }


def _of_layer(changes: Changes) -> Changes:
    return {name: {quantity: values[quantity] for quantity in OF_LAYERS} for name, values in changes.items()}
