"""A BERT-shaped feed-forward network as experts, and an MoE layer in its place (the paper's III-B9).

Axes: E experts, D hidden size, I intermediate size (neurons) of the original network, J of an expert.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.encoder.embeddings import encoder_layer
from routers import MoELayer
from routers.layer.experts import FeedForwardExperts

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FeedForward(nn.Module):
    """(…, D) -> (…, D), an encoder layer's two dense modules, shared with it: no dropout, residual or LayerNorm."""

    def __init__(self, up: nn.Linear, activation: Callable[[Tensor], Tensor], down: nn.Linear) -> None:
        super().__init__()
        self.up = up
        self.activation = activation
        self.down = down

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        output: Tensor = self.down(self.activation(self.up(hidden_states)))
        return output


def feed_forward(model: PreTrainedModel, layer: int = 0) -> FeedForward:
    """The layer's original feed-forward network; it stays usable while an MoE layer is in its place.

    Raises:
        ValueError: no such layer, a model of another shape, or an MoE layer is there already.
    """
    block = encoder_layer(model, layer)
    up, down = getattr(block.intermediate, "dense", None), getattr(block.output, "dense", None)
    if not isinstance(up, nn.Linear) or not isinstance(down, nn.Linear):
        raise ValueError(f"layer {layer} holds no feed-forward network but a {type(block.intermediate).__name__}")
    return FeedForward(up, block.intermediate.intermediate_act_fn, down)


# What one kind makes of (network, E, generator, noise): up_weight (E, J, D), up_bias (E, J), down_weight (E, D, J),
# down_bias (E, D).
ExpertParameters = tuple[Tensor, Tensor, Tensor, Tensor]


def _copied(network: FeedForward, num_experts: int, _generator: torch.Generator, _noise: float) -> ExpertParameters:
    """Every expert is the network (the paper's way)."""
    up, down = network.up, network.down
    return (
        up.weight.repeat(num_experts, 1, 1),
        up.bias.repeat(num_experts, 1),
        down.weight.repeat(num_experts, 1, 1),
        down.bias.repeat(num_experts, 1),
    )


def _noisy(network: FeedForward, num_experts: int, generator: torch.Generator, noise: float) -> ExpertParameters:
    """Copies, each parameter tensor with Gaussian noise of `noise` times its own standard deviation."""

    def disturbed(values: Tensor) -> Tensor:
        # Drawn on the CPU, so that a seed means the same on every device.
        draw = torch.randn(values.shape, generator=generator).to(values)
        return values + noise * values.std() * draw

    up_weight, up_bias, down_weight, down_bias = _copied(network, num_experts, generator, noise)
    return disturbed(up_weight), disturbed(up_bias), disturbed(down_weight), disturbed(down_bias)


def _partitioned(network: FeedForward, num_experts: int, generator: torch.Generator, _noise: float) -> ExpertParameters:
    """Every neuron in one expert, at random; W_down times E, so that equal weights over all experts give the network.

    The output bias is whole in every expert, because routing weights sum to one.
    """
    up, down = network.up, network.down
    if up.out_features % num_experts:
        raise ValueError(f"{up.out_features} neurons cannot be partitioned evenly among {num_experts} experts")
    neurons = torch.randperm(up.out_features, generator=generator).view(num_experts, -1).to(up.weight.device)  # (E, J)
    return (
        up.weight[neurons],
        up.bias[neurons],
        down.weight[:, neurons].transpose(0, 1) * num_experts,  # (D, E, J) -> (E, D, J)
        down.bias.repeat(num_experts, 1),
    )


_EXPERT_KINDS: dict[str, Callable[[FeedForward, int, torch.Generator, float], ExpertParameters]] = {
    "copied": _copied,
    "noisy": _noisy,
    "partitioned": _partitioned,
}


def list_expert_kinds() -> list[str]:
    """The names of the ways to make experts, sorted."""
    return sorted(_EXPERT_KINDS)


@torch.no_grad()
def experts_from_feed_forward(
    model: PreTrainedModel, num_experts: int, kind: str, *, layer: int = 0, seed: int = 0, noise: float = 0.1
) -> FeedForwardExperts:
    """Trainable experts made from the layer's feed-forward network, with the model's own activation.

    With `copied` experts and weights that sum to one the output is the network's, whatever the router does: speed and
    routing are the paper's, but no router can be better than another. `noisy` and `partitioned` experts differ.

    Args:
        model: BERT-shaped.
        num_experts: E.
        kind: one of `list_expert_kinds`.
        layer: which encoder layer.
        seed: of the noise, or of the partition.
        noise: for `noisy`, in standard deviations of each parameter tensor.

    Returns:
        Experts with J = I neurons, or J = I / E where they are partitioned.

    Raises:
        ValueError: an unknown kind, no such layer, E < 1, negative noise, or E does not divide I.
    """
    if kind not in _EXPERT_KINDS:
        raise ValueError(f"unknown kind of experts {kind!r}; there are {', '.join(list_expert_kinds())}")
    if num_experts < 1 or noise < 0:
        raise ValueError(f"num_experts must be at least 1 and noise not negative, got {num_experts} and {noise}")
    network = feed_forward(model, layer)
    values = _EXPERT_KINDS[kind](network, num_experts, torch.Generator().manual_seed(seed), noise)
    with torch.random.fork_rng(devices=[]):  # the draws that are overwritten below are not the caller's
        experts = FeedForwardExperts(num_experts, network.up.in_features, values[0].shape[1], network.activation)
    parameters = (experts.up_weight, experts.up_bias, experts.down_weight, experts.down_bias)
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value.contiguous()
    return experts


class Injection(AbstractContextManager["Injection"]):
    """An MoE layer in place of a feed-forward network, until `restore` or the end of the `with` block."""

    def __init__(self, model: PreTrainedModel, moe_layer: MoELayer, layer: int) -> None:
        self._block = encoder_layer(model, layer)
        self._intermediate = self._block.intermediate
        self._down = self._block.output.dense
        self.moe_layer = moe_layer
        self._block.intermediate = moe_layer
        # The layer's dropout, residual and LayerNorm come after this module and stay.
        self._block.output.dense = nn.Identity()

    def restore(self) -> None:
        """Puts the original modules back, the very same objects; a second call does nothing.

        What was put around the MoE layer since, such as an adapter's copy of it, goes with it.

        Raises:
            ValueError: something else is in its place.
        """
        if self.moe_layer in self._block.intermediate.modules():
            self._block.intermediate = self._intermediate
            self._block.output.dense = self._down
        elif self._block.intermediate is not self._intermediate:
            found = type(self._block.intermediate).__name__
            raise ValueError(f"the feed-forward network is not back, a {found} is in its place")

    def __exit__(self, *_: object) -> None:
        self.restore()


def inject_moe_layer(model: PreTrainedModel, moe_layer: MoELayer, layer: int = 0) -> Injection:
    """Replaces the layer's feed-forward network, in place; after `restore` outputs are bit for bit as before.

    Raises:
        ValueError: no such layer, a model of another shape, an MoE layer there already, or another hidden size.
    """
    network = feed_forward(model, layer)
    if moe_layer.hidden_size != network.up.in_features:
        raise ValueError(f"the MoE layer has hidden_size {moe_layer.hidden_size}, expected {network.up.in_features}")
    return Injection(model, moe_layer, layer)
