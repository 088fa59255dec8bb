"""A dense feed-forward network as a sparse one: its shared neurons, its experts, and the router that selects them.

Axes: T tokens, D hidden size, N neurons of the dense network, M of the shared expert, E experts,
I = (N - M) / E neurons of an expert, K experts per token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.language_models.builtin.neuron_groups import group_neurons

SHARED_SCALE = 0.5
"""The factor of the shared expert's output: the sigmoid of its gate, which is zero."""


@dataclass(frozen=True)
class Recipe:
    """A recipe by which a dense model becomes a sparse one. Another recipe makes another model.

    Attributes:
        layers: those that get experts; the others stay dense.
        shared_neurons: M, must leave a multiple of E.
        num_experts: E.
        top_k: K.
        router_std: standard deviation of the router's logits over tokens and experts; small, so that the K selected
            share nearly evenly, as they did in the dense network.
        ridge: of both regressions, relative to the mean square of their features.
        group_tokens: on how many tokens, evenly spread over all, neurons are compared.
        group_rounds: of the balanced k-means.
        seed: for where the groups begin.
    """

    layers: tuple[int, ...]
    shared_neurons: int
    num_experts: int
    top_k: int
    router_std: float = 0.1
    ridge: float = 0.01
    group_tokens: int = 4096
    group_rounds: int = 10
    seed: int = 0


@dataclass(frozen=True)
class SparseLayer:
    """A dense network's neurons, divided.

    Attributes:
        shared: (M,) int64, the neurons that answer every token.
        experts: (E, I) int64, the neurons of each expert; together with `shared` every neuron once.
        router: (E, D), its weight.
        output: (N, D), what each neuron's activity is multiplied by. It makes up for the factors on the way: one half
            on the shared expert, weights that sum to one over the K.
        top_k: K.
    """

    shared: Tensor
    experts: Tensor
    router: Tensor
    output: Tensor
    top_k: int

    def factors(self, hidden_states: Tensor) -> Tensor:
        """(T, D) -> (T, N), what each neuron's activity counts for each token; 0 where its expert is not selected."""
        probs = (hidden_states @ self.router.T).softmax(dim=-1)  # (T, E)
        top_probs, selected_experts = probs.topk(self.top_k, dim=-1)  # (T, K)
        weights = torch.zeros_like(probs).scatter(1, selected_experts, top_probs / top_probs.sum(-1, keepdim=True))
        factors = hidden_states.new_full((len(hidden_states), len(self.output)), SHARED_SCALE)
        factors[:, self.experts.flatten()] = weights.repeat_interleave(self.experts.shape[1], dim=1)
        return factors

    def parameters(self, mlp: nn.Module) -> dict[str, Tensor]:
        """The parameters of a `Qwen2MoeSparseMoeBlock`, by their names there."""
        gate, up = mlp.get_parameter("gate_proj.weight"), mlp.get_parameter("up_proj.weight")  # (N, D)
        return {
            "gate.weight": self.router,
            "shared_expert_gate.weight": self.router.new_zeros(1, self.router.shape[1]),
            "shared_expert.gate_proj.weight": gate[self.shared],
            "shared_expert.up_proj.weight": up[self.shared],
            "shared_expert.down_proj.weight": self.output[self.shared].T,
            "experts.gate_up_proj": torch.cat([gate[self.experts], up[self.experts]], dim=1),  # (E, 2·I, D)
            "experts.down_proj": self.output[self.experts].transpose(1, 2),  # (E, D, I)
        }


def neuron_activity(mlp: nn.Module, hidden_states: Tensor) -> Tensor:
    """(T, D) -> (T, N), what the network's output projection is given."""
    activity: Tensor = mlp.act_fn(mlp.gate_proj(hidden_states)) * mlp.up_proj(hidden_states)  # type: ignore[operator]  # torch types what a module holds as Tensor | Module
    return activity


def divide(mlp: nn.Module, hidden_states: Tensor, recipe: Recipe) -> SparseLayer:
    """The neurons of most weight are shared, the others grouped by co-activation; a router is fitted to the groups.

    A neuron's weight is its mean absolute activity times the norm of its output column.

    Args:
        mlp: `gate_proj`, `up_proj`, `down_proj` and `act_fn`, without biases.
        hidden_states: (T, D), what enters it.
        recipe: M, E, K and how.
    """
    activity = neuron_activity(mlp, hidden_states)  # (T, N)
    output = mlp.get_parameter("down_proj.weight").T  # (N, D)
    reach = activity.abs() * output.norm(dim=1)  # (T, N)
    order = reach.mean(dim=0).argsort(descending=True, stable=True)
    shared, rest = order[: recipe.shared_neurons].sort().values, order[recipe.shared_neurons :].sort().values
    step = max(1, len(reach) // recipe.group_tokens)
    experts = rest[
        group_neurons(
            reach[::step, rest].T,
            recipe.num_experts,
            rounds=recipe.group_rounds,
            generator=torch.Generator().manual_seed(recipe.seed),
        )
    ]
    scale = output.new_full((len(output), 1), float(recipe.top_k))
    scale[shared] = 1 / SHARED_SCALE
    router = _fit_router(hidden_states, activity, output, experts, recipe)
    return SparseLayer(shared, experts, router, output * scale, recipe.top_k)


def _fit_router(hidden_states: Tensor, activity: Tensor, output: Tensor, experts: Tensor, recipe: Recipe) -> Tensor:
    """(E, D): the better half of the experts is asked where logits follow the norms of what experts would add."""
    norms = torch.stack([(activity[:, neurons] @ output[neurons]).norm(dim=1) for neurons in experts], dim=1)  # (T, E)
    weight = ridge_regression(hidden_states, norms - norms.mean(), recipe.ridge)  # (D, E)
    return (weight * (recipe.router_std / (hidden_states @ weight).std())).T.contiguous()


def refit(layer: SparseLayer, mlp: nn.Module, hidden_states: Tensor, target: Tensor, recipe: Recipe) -> SparseLayer:
    """The same division, its output weights fitted by least squares to the target under its own routing.

    The ridge holds them near what they were and not near zero: a neuron that is hardly ever asked keeps its meaning.

    Args:
        layer: what is refitted.
        mlp: the dense network.
        hidden_states: (T, D).
        target: (T, D), what should come out.
        recipe: for its ridge.
    """
    features = neuron_activity(mlp, hidden_states) * layer.factors(hidden_states)  # (T, N)
    change = ridge_regression(features, target - features @ layer.output, recipe.ridge)
    return replace(layer, output=layer.output + change)


def ridge_regression(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """(T, F) and (T, G) -> (F, G), the weights of least squares; float64 inside.

    Args:
        features: without an intercept.
        targets: as many rows.
        ridge: the penalty on squared weights, relative to the features' mean square.
    """
    gram = (features.T @ features).double()
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    weights: Tensor = torch.linalg.solve(gram, (features.T @ targets).double())
    return weights.to(features.dtype)
