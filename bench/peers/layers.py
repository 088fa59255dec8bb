"""Whole layers: ours, and transformers' with each of its backends for experts.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.peers.importing import module_of
from bench.peers.work import Subject, Work, WorkSizes, gap
from bench.router.checked import BASELINE, TWIN
from bench.router.seeds import derive_seed
from bench.sizes import DType
from bench.timing.group import CannotRunError
from routers import MoELayer

TRANSFORMERS = "@transformers"
BACKENDS = ("eager", "batched_mm", "grouped_mm", "deepgemm", "sonicmoe")
"""transformers' ways to compute experts."""
PEERS = tuple(f"{backend}{TRANSFORMERS}" for backend in BACKENDS)
NEED_A_GPU = {
    f"{backend}{TRANSFORMERS}": "its kernels are for NVIDIA's Hopper and Blackwell, and are fetched from the hub"
    for backend in ("deepgemm", "sonicmoe")
}
"""Those that cannot run on a CPU, and why."""
BATCHED = f"batched_mm{TRANSFORMERS}"
MOST_COPIED = 2 << 30
"""Bytes of weights that a call may copy; batched_mm copies those of each token's experts."""


class Layers(Work):
    """A softmax router before SwiGLU experts: Mixtral's block.

    Args:
        sizes: of the layer.
        device: of the weights.
        dtype: as in `Work`.
    """

    def __init__(self, sizes: WorkSizes, device: str, dtype: DType) -> None:
        super().__init__(sizes, device, dtype)
        generator = torch.Generator(device).manual_seed(derive_seed("peers weights", 0))
        hidden, inner, experts = sizes.hidden_size, sizes.intermediate_size, sizes.num_experts

        def drawn(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.empty(shape, device=device).normal_(std=0.02, generator=generator).to(dtype)

        # Ours and its twin share these, which may be most of the memory.
        self._state: Mapping[str, Tensor] = {
            "router.weight": drawn(dtype.router, experts, hidden),
            "experts.gate_weight": drawn(dtype.hidden_states, experts, inner, hidden),
            "experts.up_weight": drawn(dtype.hidden_states, experts, inner, hidden),
            "experts.down_weight": drawn(dtype.hidden_states, experts, hidden, inner),
        }

    def subject(self, name: str) -> Subject:
        """Ours, or transformers' block with a backend."""
        if name in (BASELINE, TWIN):
            return self._ours()
        if name in NEED_A_GPU and self.device == "cpu":
            raise CannotRunError(NEED_A_GPU[name])
        return _with_backend(self._block, name.removesuffix(TRANSFORMERS))

    def refuse(self, name: str, num_tokens: int) -> None:
        """batched_mm, of more tokens than memory has room for."""
        sizes = self.sizes
        of_expert = 3 * sizes.hidden_size * sizes.intermediate_size * self.dtype.hidden_states.itemsize
        copied = num_tokens * sizes.top_k * of_expert
        if name == BATCHED and copied > MOST_COPIED:
            raise CannotRunError(
                f"it copies {copied / 2**30:.0f} GiB of weights at {num_tokens:,} tokens, and {MOST_COPIED >> 30} are "
                "allowed"
            )

    def reference(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Token by token, of the weights as they are rounded."""
        router, *maps = self._state.values()
        logits = tokens.double() @ router.double().T
        outputs = []
        for x, row in zip(tokens.double(), logits, strict=True):
            values, chosen = torch.softmax(row, dim=0).topk(self.sizes.top_k)
            output = torch.zeros_like(x)
            for expert, weight in zip(chosen.tolist(), values / values.sum(), strict=True):
                gate, up, down = (each[expert].double() for each in maps)
                output = output + weight * (down @ (F.silu(gate @ x) * (up @ x)))
            outputs.append(output)
        return torch.stack(outputs), gap(logits, self.sizes.top_k)

    def _ours(self) -> Subject:
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
        layer.load_state_dict(self._state, assign=True)
        return Subject(layer, layer, layer, list(layer.requires_grad_().parameters()))

    @cached_property
    def _block(self) -> nn.Module:
        """transformers' block, which all of its backends share."""
        sizes = self.sizes
        mixtral = module_of("transformers.models.mixtral.modeling_mixtral")
        config = module_of("transformers.models.mixtral.configuration_mixtral").MixtralConfig(
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_local_experts=sizes.num_experts,
            num_experts_per_tok=sizes.top_k,
        )
        with torch.device("meta"):
            block: nn.Module = mixtral.MixtralSparseMoeBlock(config)
        state = {
            "gate.weight": self._state["router.weight"].clone(),
            "experts.gate_up_proj": torch.cat(
                [self._state[f"experts.{name}_weight"] for name in ("gate", "up")], dim=1
            ),
            "experts.down_proj": self._state["experts.down_weight"].clone(),
        }
        block.load_state_dict(state, assign=True)
        return block.requires_grad_()


def _with_backend(block: nn.Module, backend: str) -> Subject:
    config: Any = block.get_submodule("experts").config

    def forward(tokens: Tensor) -> Tensor:
        config._experts_implementation = backend
        output: Tensor = block(tokens.unsqueeze(0)).squeeze(0)
        return output

    return Subject(forward, forward, forward, list(block.parameters()))
