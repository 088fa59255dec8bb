"""Whole layers: ours, and transformers' with each of its backends for experts.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MixtralConfig
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from bench.peers.work import OURS, TWIN, CannotRunError, Sizes, Subject, Work
from routers import MoELayer

NEEDS_A_GPU = {
    "deepgemm": "its kernels are for NVIDIA's Hopper and Blackwell, and are fetched from the hub",
    "sonicmoe": "its kernels are for NVIDIA's Hopper and Blackwell, and are fetched from the hub",
}
"""transformers' backends that cannot run on a CPU, and why."""
MOST_COPIED = 2 << 30
"""Bytes of weights that a call may copy; batched_mm copies those of each token's experts."""


class Layers(Work):
    """A softmax router before SwiGLU experts: Mixtral's block.

    Args:
        sizes: of the layer.
        device: of the weights.
    """

    name = "layer"
    modes = ("forward", "training")

    def __init__(self, sizes: Sizes, device: str = "cpu") -> None:
        self.sizes, self.device = sizes, device
        generator = torch.Generator(device).manual_seed(0)
        hidden, inner, experts = sizes.hidden_size, sizes.intermediate_size, sizes.num_experts

        def drawn(*shape: int) -> Tensor:
            return torch.empty(shape, device=device).normal_(std=0.02, generator=generator)

        self.router = drawn(experts, hidden)
        self.gate, self.up = drawn(experts, inner, hidden), drawn(experts, inner, hidden)
        self.down = drawn(experts, hidden, inner)
        self._state = cache(self._make_state)  # ours and its twin share their weights, which may be most of the memory

    def subjects(self, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Subject]]]:
        """Ours twice, and one block of transformers, which all of its backends share."""
        yield OURS, lambda: self._ours(dtype)
        yield TWIN, lambda: self._ours(dtype)
        block: list[nn.Module] = []

        def theirs(backend: str) -> Subject:
            if backend in NEEDS_A_GPU and self.device == "cpu":
                raise CannotRunError(NEEDS_A_GPU[backend])
            if not block:
                block.append(self._theirs(dtype))
            return _with_backend(block[0], backend)

        for backend in ("eager", *ALL_EXPERTS_FUNCTIONS):
            yield f"transformers {backend}", lambda backend=backend: theirs(backend)  # type: ignore[misc]

    def refuse(self, subject: str, num_tokens: int, dtype: torch.dtype) -> None:
        """batched_mm, of more tokens than memory has room for."""
        sizes = self.sizes
        of_expert = 3 * sizes.hidden_size * sizes.intermediate_size * dtype.itemsize
        copied = num_tokens * sizes.top_k * of_expert
        if subject == "transformers batched_mm" and copied > MOST_COPIED:
            raise CannotRunError(
                f"copies {copied / 2**30:.0f} GiB of weights, of which {MOST_COPIED >> 30} are allowed"
            )

    def reference(self, tokens: Tensor) -> Tensor:
        """Token by token, of the weights as the dtype of the tokens has them."""
        outputs = []
        for token in tokens:
            logits = self.router.to(tokens.dtype).double() @ token.double()
            values, chosen = torch.softmax(logits, dim=0).topk(self.sizes.top_k)
            maps = [[each[e].to(tokens.dtype).double() for each in (self.gate, self.up, self.down)] for e in chosen]
            x = token.double()
            of_experts = [down @ (F.silu(gate @ x) * (up @ x)) for gate, up, down in maps]
            weights = values / values.sum()
            outputs.append(torch.stack([w * y for w, y in zip(weights, of_experts, strict=True)]).sum(dim=0))
        return torch.stack(outputs)

    def _ours(self, dtype: torch.dtype) -> Subject:
        sizes = self.sizes
        with torch.device("meta"):
            layer = MoELayer(
                sizes.hidden_size,
                sizes.intermediate_size,
                sizes.num_experts,
                "linear",
                top_k=sizes.top_k,
                experts="swiglu",
            )
        layer.load_state_dict(self._state(dtype), assign=True)
        return Subject(layer, list(layer.requires_grad_().parameters()))

    def _make_state(self, dtype: torch.dtype) -> dict[str, Tensor]:
        weights = {"gate": self.gate, "up": self.up, "down": self.down}
        state = {"router.weight": self.router} | {f"experts.{name}_weight": each for name, each in weights.items()}
        return {name: each.to(dtype) for name, each in state.items()}

    def _theirs(self, dtype: torch.dtype) -> nn.Module:
        sizes = self.sizes
        config = MixtralConfig(
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_local_experts=sizes.num_experts,
            num_experts_per_tok=sizes.top_k,
        )
        with torch.device("meta"):
            block: nn.Module = MixtralSparseMoeBlock(config)  # type: ignore[no-untyped-call]  # transformers' own
        state = {
            "gate.weight": self.router.to(dtype, copy=True),
            "experts.gate_up_proj": torch.cat([self.gate, self.up], dim=1).to(dtype),
            "experts.down_proj": self.down.to(dtype, copy=True),
        }
        block.load_state_dict(state, assign=True)
        return block.requires_grad_()


def _with_backend(block: nn.Module, backend: str) -> Subject:
    config: Any = block.get_submodule("experts").config

    def forward(tokens: Tensor) -> Tensor:
        config._experts_implementation = backend
        output: Tensor = block(tokens.unsqueeze(0)).squeeze(0)
        return output

    return Subject(forward, list(block.parameters()))
