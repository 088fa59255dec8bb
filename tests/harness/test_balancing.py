"""What each balancer does to the load while a small layer of experts is trained on real activations.

`BALANCING_SEEDS=4 pytest tests/harness/test_balancing.py -s` prints the table of docs/how-to/balancing.md.

Axes: B batch, S sequence, T tokens, D hidden size, E experts, K experts per token, R rank.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.encoder.embeddings import Encoder, contextual_embeddings, token_batch
from routers import create_router
from routers.balancing import SwitchBalancer, create_balancer, get_balancer_class, list_balancers
from routers.metrics import max_violation

B, S, E, K, R = 16, 64, 16, 2, 8
SEEDS = int(os.environ.get("BALANCING_SEEDS", "1"))
STEPS, LAST = 60, 10
"""Steps of four sequences; the load is the mean over the last ten, of all sixteen."""


@dataclass(frozen=True)
class Training:
    """How a router is trained beside its balancer.

    Attributes:
        options: the balancer's.
        coefficient: of its loss.
        optimiser: of the router.
        lowest: how much the expert that likes it least likes what all tokens have in common.
        highest: likewise, the expert that likes it most.
    """

    options: dict[str, Any] = field(default_factory=dict)
    coefficient: float = 0.1
    optimiser: Any = field(default=lambda weights: torch.optim.Adam(weights, lr=1e-2))
    lowest: float = 0.0
    highest: float = 0.5


# A ReLU router that is skewed upwards takes every expert for every token, which is even. λ means nothing to Adam, which
# divides a gradient by its own size.
SPARSE = Training({"top_k": K, "coefficient": 1e-2}, 1.0, lambda weights: torch.optim.SGD(weights, lr=0.03), -0.1, 0.03)
TRAININGS = {"bias": Training({"rate": 0.01}), "relu_l1": SPARSE, "none, relu": SPARSE}


class Experts(nn.Module):
    """E low-rank linear maps, (T, D) and weights (T, E) -> (T, D)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(hidden_size, E * R) / hidden_size**0.5)
        self.up = nn.Parameter(torch.randn(E * R, hidden_size) * 0.1)

    def forward(self, rows: Tensor, weights: Tensor) -> Tensor:
        return ((rows @ self.down).unflatten(1, (E, R)) * weights[:, :, None]).flatten(1) @ self.up


@dataclass(frozen=True)
class Row:
    """Means over the seeds, and the least and the largest of what they came to.

    Attributes:
        before: MaxVio.
        after: MaxVio.
        experts_before: a token, on average.
        experts_after: likewise.
        task: its loss in the last steps.
        ends: the least and the largest of `after`.
    """

    before: float
    after: float
    experts_before: float
    experts_after: float
    task: float
    ends: tuple[float, float]


def train(name: str, activations: Tensor, seed: int) -> tuple[float, ...]:
    """Train experts to reproduce (B, S, D) activations, with a router that begins skewed: the first five of a row."""
    torch.manual_seed(seed)
    plan = TRAININGS.get(name, Training())
    kind = get_balancer_class("relu_l1" if name.endswith("relu") else "switch" if name == "none" else name)
    size = activations.shape[-1]
    sizes = {"hidden_size": size, "num_experts": E, "top_k": E if kind.slots_for_all else K}
    if "bias" in name or "quantile" in name:
        sizes["selection"] = "glm4_moe"  # sigmoid, with a bias
    router: Any = create_router("linear", **sizes, **(kind.rule_fields if kind.slots_for_all else {}))
    common = nn.functional.normalize(activations.mean(dim=(0, 1)), dim=0)
    with torch.no_grad():  # collapsed: the experts differ by how much they like what all tokens have in common
        router.weight += (plan.lowest + (plan.highest - plan.lowest) * torch.rand(E)[:, None]) * common
    experts = Experts(size)
    balancer = (
        SwitchBalancer({"it": router})
        if name.startswith("none")
        else create_balancer(name, {"it": router}, **plan.options)
    )
    coefficient = 0.0 if name.startswith("none") else 1.0 if balancer.weighs_itself else plan.coefficient
    optimisers = plan.optimiser(router.parameters()), torch.optim.Adam(experts.parameters(), lr=3e-3)
    mask = torch.ones(4, S, dtype=torch.bool)

    def load() -> tuple[float, float]:
        with torch.no_grad():
            counts = router(activations).tokens_per_expert
        return float(max_violation(counts)), float(counts.sum()) / (B * S)

    loads, tasks = [load()], []
    for step in range(STEPS):
        for optimiser in optimisers:
            optimiser.zero_grad()
        batch = activations[torch.randint(B, (4,))]
        routing, rows = router(batch), batch.flatten(0, 1)
        weights = torch.zeros(len(rows), E).scatter(1, routing.selected_experts, routing.routing_weights)
        task = (experts(rows, weights) - rows).square().mean()
        (task + coefficient * balancer.loss({"it": routing}, mask)).backward()
        tasks.append(task.item())
        for optimiser in optimisers:
            optimiser.step()
        balancer.update()
        if step >= STEPS - LAST:
            loads.append(load())
    after = torch.tensor(loads[1:]).mean(dim=0).tolist()
    return loads[0][0], after[0], loads[0][1], after[1], sum(tasks[-LAST:]) / LAST


@pytest.fixture(scope="module")
def rows(encoder: Encoder, shakespeare: str) -> dict[str, Row]:
    ids = token_batch(encoder, shakespeare[:100_000], batch_size=B, sequence_length=S, seed=0)
    activations = contextual_embeddings(encoder, ids).view(B, S, -1)
    activations = activations / activations.std()
    print("\n| balancer | MaxVio before | after | from seed to seed | ratio | experts a token | after | task's loss |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    found = {}
    for name in ("none", *list_balancers(), "none, relu"):
        runs = torch.tensor([train(name, activations, seed) for seed in range(SEEDS)])
        row = found[name] = Row(*runs.mean(dim=0).tolist(), (float(runs[:, 1].min()), float(runs[:, 1].max())))
        print(
            f"| {name} | {row.before:.2f} | {row.after:.2f} | {row.ends[0]:.2f} to {row.ends[1]:.2f} | "
            f"{row.after / row.before:.2f} | {row.experts_before:.1f} | {row.experts_after:.1f} | {row.task:.3f} |"
        )
    return found


@pytest.mark.parametrize("name", list_balancers())
def test_the_load_becomes_more_even(name: str, rows: dict[str, Row]) -> None:
    assert rows[name].after < 0.8 * rows[name].before


def test_what_is_not_balanced_stays_uneven(rows: dict[str, Row]) -> None:
    """Without that control the balancers' merit could be the task's."""
    alike = [rows[name].after for name in list_balancers() if name != "relu_l1"]
    assert rows["none"].after > 1.3 * max(alike)
    # Without the L1 a ReLU router takes more and more experts, with it as many as are aimed at.
    assert rows["none, relu"].experts_after > rows["none, relu"].experts_before
    assert rows["relu_l1"].experts_after == pytest.approx(K, abs=0.5)
