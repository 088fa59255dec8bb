"""Replaces the routers of a Mixture-of-Experts language model, and puts them back.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.replacement.calibration import Calibration
from harness.replacement.distillation import Fit
from harness.replacement.initialisers import INITIALISERS
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.replacement.recording import record_logits, record_original
from harness.replacement.router_config import RouterConfig
from harness.replacement.router_gate import GateSwap, RouterGate
from harness.replacement.rule_reading import describe_rule
from harness.replacement.unwrap import bare_model, execution_device, is_adapted, unwrap_module, with_values
from routers import Router, SelectionRule, get_selection_rule
from routers.parameters import count_parameters

_NOT_FITTED = ", not fitted: no calibration text reached its gate"
_RANKING = ("score_function", "soft_cap", "ranked_by")
"""The fields of a rule that say what a bias is added to."""


class Replacement(AbstractContextManager["Replacement"]):
    """Routers in place of a model's own, until `restore` or the end of the `with` block.

    Attributes:
        model: the transformers model.
        replaced: in the model's order.
        fits: path of the block -> what its router's fitting came to, where it was distilled.
    """

    def __init__(self, model: nn.Module, replaced: list[GateSwap], fits: Mapping[str, Fit] | None = None) -> None:
        self.model = bare_model(model)
        self.replaced = tuple(replaced)
        self.fits = dict(fits or {})
        for each in replaced:
            record_logits(each.gate)
            setattr(each.block.module, each.block.gate_name, each.gate)

    @property
    def routers(self) -> dict[str, Router]:
        """Path of the block -> its router."""
        return {each.block.name: each.router for each in self.replaced}

    def report(self) -> str:
        """A line of text for each block: its gate before and after, parameters and sizes."""
        lines = []
        for each in self.replaced:
            block, router = each.block, each.router
            before, after = count_parameters(each.original), count_parameters(router)
            lines.append(
                f"{block.name}.{block.gate_name}: {type(each.original).__name__} ({before:,} parameters) -> "
                f"{type(router).__name__} ({after:,}), D={block.hidden_size} E={block.num_experts} K={router.top_k}"
                f"{_another_rule(block, router)}{_NOT_FITTED if self.fits and block.name not in self.fits else ''}"
            )
        return "\n".join(lines)

    def restore(self) -> None:
        """Put the very same gates back where the new ones still are; a second call does nothing.

        What was put around a new gate since, such as an adapter's copy of it (PEFT's `modules_to_save`), goes with it.

        Raises:
            ValueError: somewhere the new gates stay, because something else keeps them; the other gates are back.
        """
        recording = any(getattr(module, "_output_capturing_hooks_installed", False) for module in self.model.modules())
        for each in self.replaced:
            if each.gate in each.block.gate.modules():
                setattr(each.block.module, each.block.gate_name, each.original)
                if recording:
                    # The model has looked for its gates, which it does once, while this one was away.
                    record_original(each.original)
        if kept := self._not_restored():
            raise ValueError(f"the model's own gates are not back, something else is in their place: {', '.join(kept)}")

    def _not_restored(self) -> list[str]:
        """Places that have other gates still: another module's, or those of an adapter's copy of the whole block."""
        blocks = tuple(f"{each.block.name}." for each in self.replaced)
        kept = [
            f"{name} ({type(gate).__name__})"
            for name, gate in self.model.named_modules()
            if isinstance(gate, RouterGate) and name.startswith(blocks)
        ]
        return kept + [
            f"{each.block.name}.{each.block.gate_name} ({type(each.block.gate).__name__})"
            for each in self.replaced
            if each.block.gate is not each.original and not isinstance(each.block.gate, RouterGate)
        ]

    def __exit__(self, *_: object) -> None:
        self.restore()


def _another_rule(block: MoEBlock, router: Router) -> str:
    """The rule of a router, where it is not the model's own."""
    if router.selection == block.rule:
        return ""
    ours = "in a way of its own" if router.selects_by_itself else f"by {describe_rule(router.selection)}"
    return f", selects {ours}, the model by {describe_rule(block.rule, block.family.rule)}"


def replace_routers(
    model: nn.Module,
    router: str,
    *,
    top_k: int | None = None,
    initialise: str = "random",
    layers: Collection[int] | None = None,
    calibration: Calibration | Sequence[Tensor] | None = None,
    **options: Any,
) -> Replacement:
    """Put a router into every Mixture-of-Experts block of a model; experts, shared experts and wiring stay.

    The routers are float32 whatever the model's dtype, on the device of the gates they replace, and take over K, the
    normalisation and the scaling of the weights. Blocks that share a gate share its successor. Recording of router
    logits and the auxiliary loss go on.

    Args:
        model: a transformers model of one of `harness.replacement.families.FAMILIES`.
        router: a registered name.
        top_k: K; as the model had it, unless given.
        initialise: "random"; "original", a linear router with the old gate's weights; or "distilled", fitted to the old
            gate.
        layers: numbers of the layers to replace; all that have experts, unless given.
        calibration: for "distilled", the token ids of lines of text, (S,) int64 each, or a `Calibration` of them.
        **options: the router's own, and those of `Router`, but for those that act in an `MoELayer` alone.

    Raises:
        ValueError: nothing to replace, an unknown name or initialisation, no such layer, an option's value, or an
            option that has no effect here (`straight_through`; the hash router's `token_counts`).
        TypeError: an option that the router does not have.

    Examples:
        >>> import torch
        >>> from transformers import MixtralConfig, MixtralForCausalLM
        >>> sizes = {"vocab_size": 9, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
        >>> experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 8, "num_hidden_layers": 1}
        >>> model = MixtralForCausalLM(MixtralConfig(**sizes, **experts)).eval()
        >>> with replace_routers(model, "attention") as replacement:
        ...     logits = model(torch.tensor([[3, 1, 4]])).logits
        >>> list(replacement.routers)
        ['model.layers.0.mlp']
    """
    if initialise not in INITIALISERS:
        raise ValueError(f"unknown initialisation {initialise!r}; there are: {', '.join(INITIALISERS)}")
    blocks = _chosen(find_moe_blocks(model), layers)
    swaps: dict[int, GateSwap] = {}
    for block in blocks:
        refuse_replaced(block)
        if id(block.gate) not in swaps:
            swaps[id(block.gate)] = GateSwap(block, block.gate, _make_gate(block, router, top_k, options))
    if calibration is not None and not isinstance(calibration, Calibration):
        calibration = Calibration(calibration)
    fits = INITIALISERS[initialise](model, list(swaps.values()), calibration)
    return Replacement(
        model,
        [GateSwap(block, block.gate, swaps[id(block.gate)].gate) for block in blocks],
        {block.name: fits[owner] for block in blocks if (owner := swaps[id(block.gate)].block.name) in fits},
    )


def _chosen(blocks: list[MoEBlock], layers: Collection[int] | None) -> list[MoEBlock]:
    if layers is None:
        return blocks
    if not layers:
        raise ValueError("layers= is empty, expected the numbers of layers, or None for all")
    known = [block.layer for block in blocks]
    unknown = sorted(set(layers) - set(known))
    if unknown:
        raise ValueError(f"layers {unknown} have no experts to route to; those that have: {known}")
    return [block for block in blocks if block.layer in layers]


def refuse_replaced(block: MoEBlock) -> None:
    """Raise a ValueError where a block's gate is not the model's own, or is an adapter's business."""
    gate = block.gate
    if isinstance(unwrap_module(gate, trained=True), RouterGate):
        raise ValueError(f"{block.name}: its router was replaced already; restore that first")
    if is_adapted(gate):
        raise ValueError(
            f"{block.name}.{block.gate_name}: an adapter stands around it ({type(gate).__name__}); replace or load the "
            "routers first, then add the adapter"
        )


def _make_gate(block: MoEBlock, name: str, top_k: int | None, options: dict[str, Any]) -> RouterGate:
    asked = options.get("selection")
    router_config = RouterConfig(
        name,
        block.hidden_size,
        block.num_experts,
        block.top_k if top_k is None else top_k,
        options | {"selection": block.rule if asked is None else get_selection_rule(asked)},
    )
    with torch.device(gate_device(block)):
        router, router_config, scaling = _made(block, router_config, own=asked is None)
    _copy_bias_and_factors(block, router)
    return make_gate(block, router, router_config, scaling)


def _made(block: MoEBlock, router_config: RouterConfig, *, own: bool) -> tuple[Router, RouterConfig, float]:
    """The router, what it was made of, and the factor of its weights that no rule of its has."""
    try:
        return router_config.make(), router_config, 1.0
    except ValueError:
        if not own:
            raise
    # It selects in a way of its own, as the hash router does, or has too large a K by definition. Where it refused
    # something else, it does so again.
    known = {each.name for each in fields(SelectionRule) if each.init}
    asked = {name: value for name, value in router_config.options.items() if name in known}
    get_selection_rule(block.rule, **asked).check_sizes(router_config.num_experts, router_config.top_k)
    options = {name: value for name, value in router_config.options.items() if name != "selection"}
    without = replace(router_config, options={"norm_topk_prob": block.norm_topk_prob} | options)
    return without.make(), without, block.scaling


def _copy_bias_and_factors(block: MoEBlock, router: Router) -> None:
    """A router that ranks as the original does begins with its bias, and one that has them with its factors."""
    ranks_alike = all(getattr(router.selection, field) == getattr(block.rule, field) for field in _RANKING)
    copies = ((router.selection_bias, block.selection_bias() if ranks_alike else None),)
    with torch.no_grad():
        for ours, original in (*copies, (router.expert_scale, block.expert_scale())):
            if ours is not None and original is not None and not original.is_meta:
                ours.copy_(original)


def make_gate(block: MoEBlock, router: Router, router_config: RouterConfig, scaling: float) -> RouterGate:
    """A gate for this block, with copies of what stays of the original beside scorer and rule."""
    with ExitStack() as values:
        for module in block.gate.modules():
            values.enter_context(with_values(module))
        form = block.family.form(block.gate)
        form.own_rule = router.selection == block.rule
        form.weights_dtype = torch.float32 if block.family.float32_weights else None
    return RouterGate(router, router_config, scaling, form, block.rule).train(block.module.training)


def gate_device(block: MoEBlock) -> torch.device:
    """The device on which a block's gate computes; a quantised gate has buffers alone, an offloaded one no values."""
    if (device := execution_device(block.gate)) is not None:
        return device
    for tensors in (block.gate.parameters(), block.gate.buffers(), block.module.parameters()):
        for tensor in tensors:
            return tensor.device
    return torch.get_default_device()
