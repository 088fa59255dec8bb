"""Replaces the routers of a Mixture-of-Experts language model, and puts them back.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn

from harness.moe_blocks import MoEBlock, find_moe_blocks
from harness.router_gate import RouterGate, copy_linear
from routers import Router, create_router

INITIALISERS: dict[str, Callable[[RouterGate, nn.Module], None]] = {
    "random": lambda gate, original: None,
    "original": copy_linear,
}
"""How a new router begins: (gate, original) -> None."""


@dataclass(frozen=True, eq=False)
class Replaced:
    """One gate that was replaced.

    Attributes:
        block: where.
        original: the gate that was there.
        gate: what is there now.
    """

    block: MoEBlock
    original: nn.Module
    gate: RouterGate

    @property
    def router(self) -> Router:
        """The new router."""
        return self.gate.router


class Replacement:
    """Routers in place of a model's own, until `restore` or the end of the `with` block.

    Attributes:
        replaced: in the model's order.
    """

    def __init__(self, model: nn.Module, replaced: list[Replaced]) -> None:
        self._model = model
        self.replaced = tuple(replaced)
        for each in replaced:
            setattr(each.block.module, each.block.gate_name, each.gate)

    @property
    def routers(self) -> dict[str, Router]:
        """Path of the block -> its router."""
        return {each.block.name: each.router for each in self.replaced}

    def report(self) -> str:
        """What was replaced, a line for each block."""
        lines = []
        for each in self.replaced:
            block, router = each.block, each.router
            before, after = (sum(p.numel() for p in module.parameters()) for module in (each.original, router))
            lines.append(
                f"{block.name}.{block.gate_name}: {type(each.original).__name__} ({before:,} parameters) -> "
                f"{type(router).__name__} ({after:,}), D={block.hidden_size} E={block.num_experts} K={router.top_k}"
            )
        return "\n".join(lines)

    def restore(self) -> None:
        """Put the very same gates back where the new ones still are; a second call does nothing."""
        recording = any(getattr(module, "_output_capturing_hooks_installed", False) for module in self._model.modules())
        for each in self.replaced:
            if each.block.gate is each.gate:
                setattr(each.block.module, each.block.gate_name, each.original)
                if recording:
                    # The model has looked for its gates, which it does once, while this one was away.
                    _record_logits(each.original)

    def __enter__(self) -> Replacement:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()


def replace_routers(
    model: nn.Module,
    router: str,
    *,
    top_k: int | None = None,
    initialise: str = "random",
    layers: Collection[int] | None = None,
    **options: Any,
) -> Replacement:
    """Put a router into every Mixture-of-Experts block of a model; experts, shared experts and wiring stay.

    The routers are float32 whatever the model's dtype, on the device of the gates they replace, and take over K, the
    normalisation and the scaling of the weights. Blocks that share a gate share its successor. Recording of router
    logits and the auxiliary loss go on.

    Args:
        model: a transformers model of one of `harness.moe_blocks.FAMILIES`.
        router: a registered name.
        top_k: K; as the model had it, unless given.
        initialise: "random", or "original": a linear router with the old gate's weights.
        layers: numbers of the layers to replace; all that have experts, unless given.
        **options: the router's own, and those of `Router`.

    Raises:
        ValueError: nothing to replace, an unknown name or initialisation, no such layer, or an option's value.
        TypeError: an option that the router does not have.
    """
    if initialise not in INITIALISERS:
        raise ValueError(f"unknown initialisation {initialise!r}; there are: {', '.join(INITIALISERS)}")
    blocks = _chosen(find_moe_blocks(model), layers)
    gates: dict[int, RouterGate] = {}
    for block in blocks:
        original = block.gate
        if isinstance(original, RouterGate):
            raise ValueError(f"{block.name}: its router was replaced already; restore that first")
        if id(original) not in gates:
            gates[id(original)] = gate = _make_gate(block, router, top_k, options)
            INITIALISERS[initialise](gate, original)
            _record_logits(gate)
    return Replacement(model, [Replaced(block, block.gate, gates[id(block.gate)]) for block in blocks])


def _chosen(blocks: list[MoEBlock], layers: Collection[int] | None) -> list[MoEBlock]:
    if layers is None:
        return blocks
    known = [block.layer for block in blocks]
    unknown = sorted(set(layers) - set(known))
    if unknown:
        raise ValueError(f"layers {unknown} have no experts to route to; those that have: {known}")
    return [block for block in blocks if block.layer in layers]


def _make_gate(block: MoEBlock, name: str, top_k: int | None, options: dict[str, Any]) -> RouterGate:
    with torch.device(_device(block)):
        router = create_router(
            name,
            hidden_size=block.hidden_size,
            num_experts=block.num_experts,
            top_k=block.top_k if top_k is None else top_k,
            **{"norm_topk_prob": block.norm_topk_prob} | options,
        )
    return RouterGate(router.train(block.module.training), block.scaling).train(block.module.training)


def _device(block: MoEBlock) -> torch.device:
    """That of the gate; a quantised one has buffers alone."""
    for tensors in (block.gate.parameters(), block.gate.buffers(), block.module.parameters()):
        for tensor in tensors:
            return tensor.device
    return torch.get_default_device()


def _record_logits(gate: nn.Module) -> None:
    """Let transformers record what the gate gives as router logits, once.

    It finds its own gates by their class when it records for the first time. This is the hook that it installs then; it
    has no public name.
    """
    from transformers.utils.output_capturing import install_output_capuring_hook

    hooks = [getattr(hook, "__name__", "") for hook in gate._forward_hooks.values()]
    if "output_capturing_hook" not in hooks:
        install_output_capuring_hook(gate, "router_logits", 0)
