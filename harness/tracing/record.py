"""Records the decisions of a model's gates, its own or replaced ones, layer by layer.

Axes: B batch, S sequence, T tokens that count, L layers, E experts, K experts per token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.replacement.gate_forms import Decision
from harness.replacement.gate_hooks import hear_gates, without_padding
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.replacement.router_gate import RouterGate
from harness.replacement.rule_reading import describe_rule
from harness.replacement.unwrap import bare_model, unwrap_module
from harness.text.passages import pad_batch
from harness.text.perplexity import input_device
from harness.tracing.file import write_trace
from routers import SelectionRule

BATCH_SIZE = 8


@dataclass(frozen=True, eq=False)
class RecordedRouting:
    """What the gates of a model decided.

    Attributes:
        experts: (T, L, K), int16 or int32; −1 where a slot has no expert.
        weights: (T, L, K) float32.
        logits: (T, E) float32 of each layer, whose softmax is the router's probabilities; None if not asked for.
        num_experts: E.
        layer_names: of each layer: its number, or its path where numbers are not enough.
        token_ids: (T,) int64, or None where the model was given something else.
        domains: (T,) int64, numbers of `domain_names`, or None.
        domain_names: the labels.
        about: words on the model and its rule.
    """

    experts: Tensor
    weights: Tensor
    logits: tuple[Tensor, ...] | None
    num_experts: int
    layer_names: tuple[str, ...]
    token_ids: Tensor | None = None
    domains: Tensor | None = None
    domain_names: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor | None]:
        """The arrays of its file."""
        return {
            "experts": self.experts,
            "weights": self.weights,
            **{f"logits.{layer}": each for layer, each in enumerate(self.logits or ())},
            "token_ids": self.token_ids,
            "domains": self.domains,
        }

    def metadata(self) -> dict[str, str]:
        """The words of its file."""
        return {
            **self.about,
            "num_experts": str(self.num_experts),
            "top_k": str(self.experts.shape[-1]),
            "layer_names": json.dumps(self.layer_names),
            "domains": json.dumps(self.domain_names),
            "selection": "softmax",
            "empty_slots": str(bool((self.experts < 0).any())).lower(),
        }


@torch.no_grad()
def record_routing(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Any],
    *,
    path: str | Path | None = None,
    logits: bool = False,
    layers: Collection[int] | None = None,
    domains: Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
) -> RecordedRouting:
    """Have a model read, and record which experts each token is sent to, and with which weights.

    The model is in evaluation mode meanwhile. Padding is left out; tokens stand in the order of the inputs.

    Args:
        model: of one of `harness.replacement.families.FAMILIES`, with its own gates or replaced ones, wrapped or not.
        inputs: token ids (B, S), or one (S,) a text, padded here; or the arguments of one call of the model, such as
            `input_ids` and `attention_mask`.
        path: a file to write it to, `*.safetensors`, which `python -m reports traces` reads.
        logits: record what the routers' probabilities are made of too, T · E · 4 bytes a layer.
        layers: numbers of the layers; all that have experts, unless given.
        domains: a label for each text, or row of the batch, such as a language.
        batch_size: texts that are read together.

    Raises:
        ValueError: no block, an unknown family, no token, a number of labels that is not that of the texts, another
            suffix, or layers that differ in E, K or the tokens that they see.
    """
    if path is not None and Path(path).suffix != ".safetensors":
        raise ValueError(f"path is {str(path)!r}, expected a name that ends in .safetensors")
    blocks = _blocks(model, layers)
    listener = _Listener(blocks, logits=logits)
    token_ids: list[Tensor] = []
    labels: list[Tensor] = []
    training, device = model.training, input_device(model)
    texts = 0
    model.train(False)
    try:
        with hear_gates(listener.gates, listener.hear):
            for arguments in _calls(model, inputs, batch_size):
                mask = arguments.get("attention_mask")
                listener.mask = mask
                model(**{name: _moved(value, device) for name, value in arguments.items()})
                listener.end_of_pass()
                ids = arguments.get("input_ids")
                if isinstance(ids, Tensor):
                    token_ids.append(without_padding(ids[..., None], mask)[:, 0].cpu())
                    rows = torch.arange(texts, texts + len(ids))[:, None].expand(ids.shape)
                    labels.append(without_padding(rows[..., None], mask)[:, 0].cpu())
                    texts += len(ids)
    finally:
        model.train(training)
    names, numbers = _domains(domains, texts, labels)
    recorded = listener.recorded(token_ids, numbers, names, model)
    if path is not None:
        write_trace(recorded.tensors(), recorded.metadata(), Path(path))
    return recorded


def _blocks(model: nn.Module, layers: Collection[int] | None) -> list[MoEBlock]:
    blocks = find_moe_blocks(model)
    if layers is None:
        return blocks
    if unknown := sorted(set(layers) - {block.layer for block in blocks}):
        raise ValueError(f"layers {unknown} have no experts; those that have: {[block.layer for block in blocks]}")
    return [block for block in blocks if block.layer in layers]


def _calls(
    model: nn.Module, inputs: Tensor | Sequence[Tensor] | Mapping[str, Any], batch_size: int
) -> Iterator[dict[str, Any]]:
    """The arguments of each call of the model."""
    if isinstance(inputs, Mapping):
        yield {"use_cache": False} | dict(inputs)
        return
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    texts = list(inputs)
    if not texts or any(text.ndim != 1 or not len(text) for text in texts):
        raise ValueError("inputs hold no token ids, expected (B, S), or texts of (S,) with at least one token each")
    decodes = getattr(getattr(bare_model(model), "config", None), "is_encoder_decoder", False)
    for start in range(0, len(texts), batch_size):
        batch = pad_batch([text.cpu() for text in texts[start : start + batch_size]], pad_id=0)
        ids = batch["input_ids"]
        decoder = {"decoder_input_ids": ids} if decodes else {}
        yield {"input_ids": ids, "attention_mask": batch["attention_mask"], "use_cache": False, **decoder}


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _domains(
    domains: Sequence[str] | None, texts: int, rows: Sequence[Tensor]
) -> tuple[tuple[str, ...], Tensor | None]:
    if domains is None:
        return (), None
    if len(domains) != texts:
        raise ValueError(f"domains are {len(domains)} labels, expected one for each of {texts} texts")
    names = tuple(sorted(set(map(str, domains))))
    numbers = torch.tensor([names.index(str(each)) for each in domains])
    return names, numbers[torch.cat(list(rows))]


class _Listener:
    """What is heard of each block. A gate that several blocks share is called once for each, in their order."""

    def __init__(self, blocks: Sequence[MoEBlock], *, logits: bool) -> None:
        self.blocks = list(blocks)
        self.mask: Tensor | None = None
        self._with_logits = logits
        self._heard: list[list[tuple[Tensor, ...]]] = [[] for _ in blocks]
        users: dict[int, list[int]] = {}
        for place, block in enumerate(blocks):
            users.setdefault(id(block.gate), []).append(place)
        self._users = {str(places[0]): places for places in users.values()}
        self._calls = dict.fromkeys(self._users, 0)
        self.gates = {name: blocks[places[0]].gate for name, places in self._users.items()}

    def hear(self, name: str, _inputs: Any, decision: Decision) -> None:
        """Keep a decision, without the padding, for the block whose turn it is."""
        places = self._users[name]
        place = places[self._calls[name] % len(places)]
        self._calls[name] += 1
        logits, weights, experts = (without_padding(part.detach(), self.mask).cpu() for part in decision)
        dtype = torch.int16 if self.blocks[place].num_experts < 2**15 else torch.int32
        kept: tuple[Tensor, ...] = (experts.to(dtype), weights.float())
        if self._with_logits:
            kept += (_as_softmax(logits.float(), _rule_of(self.blocks[place])),)
        self._heard[place].append(kept)

    def end_of_pass(self) -> None:
        """Raise where a shared gate was not called for all of its blocks: whose decisions they were is not known."""
        for name, places in self._users.items():
            if self._calls[name] % len(places):
                raise ValueError(
                    f"{self.blocks[places[0]].name}: its gate, which {len(places)} blocks share, was called "
                    f"{self._calls[name]} times"
                )

    def recorded(
        self, token_ids: list[Tensor], domains: Tensor | None, names: tuple[str, ...], model: nn.Module
    ) -> RecordedRouting:
        """All of it; blocks that no token reached (those of images) are left out."""
        found = [
            (block, [torch.cat(parts) for parts in zip(*heard, strict=True)])
            for block, heard in zip(self.blocks, self._heard, strict=True)
            if heard
        ]
        if not found or not len(found[0][1][0]):
            raise ValueError("no token reached a gate")
        first, parts = found[0]
        for block, others in found[1:]:
            ours, theirs = (len(parts[0]), first.num_experts), (len(others[0]), block.num_experts)
            if ours != theirs or parts[0].shape != others[0].shape:
                raise ValueError(
                    f"{block.name}: {tuple(others[0].shape)} (tokens, K) of {block.num_experts} experts, expected "
                    f"{tuple(parts[0].shape)} of {first.num_experts} as in {first.name}; layers= chooses some"
                )
        ids = torch.cat(token_ids) if token_ids else None
        if domains is not None and len(domains) != len(parts[0]):
            raise ValueError(f"the gates saw {len(parts[0])} tokens, the texts have {len(domains)}")
        numbers = [str(block.layer) for block, _ in found]
        return RecordedRouting(
            experts=torch.stack([each[0] for _, each in found], dim=1),
            weights=torch.stack([each[1] for _, each in found], dim=1),
            logits=tuple(each[2] for _, each in found) if self._with_logits else None,
            num_experts=first.num_experts,
            layer_names=tuple(numbers if len(set(numbers)) == len(numbers) else (block.name for block, _ in found)),
            token_ids=ids if ids is not None and len(ids) == len(parts[0]) else None,
            domains=domains,
            domain_names=names,
            about={"model": type(bare_model(model)).__name__, "rule": describe_rule(_rule_of(first))},
        )


def _rule_of(block: MoEBlock) -> SelectionRule:
    """By which the gate that stands there now makes probabilities."""
    gate = unwrap_module(block.gate, trained=True)
    return gate.router.selection if isinstance(gate, RouterGate) else block.rule


def _as_softmax(logits: Tensor, rule: SelectionRule) -> Tensor:
    """Logits whose softmax is the rule's probabilities, (T, E) -> (T, E): its own where that is so, else log p."""
    if rule.score_function == "softmax" and rule.soft_cap is None:
        return logits
    return rule.probabilities(rule.score(logits)).float().clamp_min(torch.finfo(torch.float32).tiny).log()
