"""What a router does with an input, over seeds: metrics, loads and the figures' data.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.router.experts import ExpertBanks
from bench.router.inputs import Batch
from bench.router.precision import combine_precision
from bench.timing.intervals import summarise
from routers import MoELayer, Router, Routing, metrics
from routers.metric import METRICS, Observed
from routers.routing import TokenChoice

HISTOGRAM_BINS = 80
MOST_EXPERTS = 64
"""Of more, the pairs are not counted: they would be most of the JSON."""
# The outermost thousandth at each end is left out of a histogram, which a single outlier would otherwise flatten.
HISTOGRAM_TAIL = 0.001


@dataclass(frozen=True)
class Observation:
    """One router, freshly drawn, on one batch.

    Attributes:
        metrics: name -> number.
        load: (E,) shares.
        co_activation: (E, E).
        layer: kind of experts -> output_std, and output_error or None.
        figures: what the figures show of it, or empty.
        precision: what `observe_precision` says of it, or empty where it was not asked.
    """

    metrics: dict[str, float]
    load: list[float]
    co_activation: list[list[float]]
    layer: dict[str, dict[str, float | None]]
    figures: dict[str, Any]
    precision: dict[str, Any] = field(default_factory=dict)


@torch.no_grad()
def observe(router: Router, batch: Batch, experts: ExpertBanks, output_tokens: int, *, figures: bool) -> Observation:
    """Route a batch, run its first tokens through each bank of experts, and say what happened."""
    routing: Routing = router(batch.hidden_states)
    tokens = batch.hidden_states[:output_tokens]
    outputs = {kind: _layer(router, bank)(tokens) for kind, bank in experts.banks.items()}
    layer = {kind: _output_figures(output, experts.original_output) for kind, output in outputs.items()}
    observed = Observed(routing, next(iter(outputs.values()), None))
    return Observation(
        metrics={name: float(metric.measure(observed)) for name, metric in METRICS.items()},
        load=observed.load.tolist(),
        co_activation=_co_activation(routing).tolist(),
        layer=layer,
        figures=_figures(routing, batch, outputs) if figures else {},
    )


def _figures(routing: Routing, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Any]:
    first_sequence = slice(batch.sequence_length)
    return {
        "sequence_probs": [[round(prob, 5) for prob in row] for row in routing.router_probs[first_sequence].tolist()],
        "sequence_tokens": batch.words[first_sequence] if batch.words else None,
        "output_histogram": {kind: _histogram(output) for kind, output in outputs.items()},
        "expert_pairs": _expert_pairs(routing),
    }


def _expert_pairs(routing: Routing) -> list[list[int]] | None:
    """(E, E) how many tokens have both experts, the diagonal how many have one; None where no token chooses."""
    if routing.num_experts > MOST_EXPERTS or not isinstance(routing, TokenChoice):
        return None
    return metrics.pair_counts(routing.selected_experts, routing.num_experts, routing.kept).long().tolist()


def _co_activation(routing: Routing) -> Tensor:
    if routing.num_experts > MOST_EXPERTS:
        return torch.zeros(0, 0)
    if isinstance(routing, TokenChoice):
        return metrics.co_activation(routing.selected_experts, routing.num_experts, routing.kept)
    return torch.zeros(routing.num_experts, routing.num_experts)


def _layer(router: Router, experts: nn.Module) -> MoELayer:
    return MoELayer(router.hidden_size, 0, router.num_experts, router, experts=experts)


def _output_figures(output: Tensor, original: Tensor | None) -> dict[str, float | None]:
    error = None if original is None else float((output - original).norm() / original.norm())
    return {"output_std": float(metrics.output_std(output)), "output_error": error}


def _histogram(output: Tensor) -> dict[str, list[float]]:
    values = output.flatten().cpu().sort().values
    tail = int(HISTOGRAM_TAIL * len(values))
    low, high = float(values[tail]), float(values[-1 - tail])
    counts = torch.histc(values, bins=HISTOGRAM_BINS, min=low, max=high)
    return {
        "edges": torch.linspace(low, high, HISTOGRAM_BINS + 1).tolist(),
        "counts": counts.long().tolist(),
    }


def _ranked_co_activation(observation: Observation) -> list[list[float]]:
    """(E, E - 1): a row an expert, the most loaded first, and in it the others, the one met most often first."""
    if not observation.co_activation:
        return []
    rows = [
        (load, *sorted((*row[:expert], *row[expert + 1 :]), reverse=True))
        for expert, (load, row) in enumerate(zip(observation.load, observation.co_activation, strict=True))
    ]
    return [list(row) for _, *row in sorted(rows, reverse=True)]


def combine(observations: list[Observation]) -> dict[str, Any]:
    """The observations of several seeds as the JSON's `behaviour`."""
    first = observations[0]

    def over_seeds(get: Callable[[Observation], float | None]) -> dict[str, Any] | None:
        values = [value for observation in observations if (value := get(observation)) is not None]
        return summarise(values) if values else None

    # An expert's number means nothing from seed to seed: what belongs to experts is put in order within a seed first.
    # A seed in which no token has an expert has no shares, and is in their mean only where all seeds are such.
    shared = [observation for observation in observations if any(observation.load)] or observations
    by_seed = [sorted(observation.load, reverse=True) for observation in shared]
    loads = [summarise(shares) for shares in zip(*by_seed, strict=True)]
    co_activation = torch.tensor([_ranked_co_activation(o) for o in observations], dtype=torch.float64)
    return {
        "seeds": list(range(len(observations))),
        "metrics": {name: over_seeds(lambda o, name=name: o.metrics[name]) for name in first.metrics},  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        "expert_load": {field: [load[field] for load in loads] for field in ("mean", "sd")},
        "expert_load_by_seed": by_seed if len(loads) <= MOST_EXPERTS else None,
        "co_activation": co_activation.mean(dim=0).tolist(),
        "layer": {
            kind: {
                figure: over_seeds(lambda o, kind=kind, figure=figure: o.layer[kind][figure])  # type: ignore[misc]  # likewise
                for figure in first.layer[kind]
            }
            for kind in first.layer
        },
        "precision": combine_precision([observation.precision for observation in observations]),
    }
