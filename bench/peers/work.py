"""What is compared: the same work, done by several.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.router.seeds import derive_seed
from bench.sizes import DType


@dataclass(frozen=True)
class WorkSizes:
    """The sizes of a work.

    Attributes:
        hidden_size: D.
        intermediate_size: I; 0 where there are no experts.
        num_experts: E.
        top_k: K.
    """

    hidden_size: int
    intermediate_size: int
    num_experts: int
    top_k: int


@dataclass(frozen=True, eq=False)
class Subject:
    """Somebody who does the work.

    Attributes:
        outputs: hidden states (T, D) -> what is compared, (T, D) or (T, E).
        call: what is timed without gradients: the peer itself, whatever it returns.
        differentiable: what is timed with gradients: hidden states -> the tensor of its result that has one.
        parameters: those that gradients are made for.
    """

    outputs: Callable[[Tensor], Tensor]
    call: Callable[[Tensor], object]
    differentiable: Callable[[Tensor], Tensor]
    parameters: Sequence[nn.Parameter]


class Work(ABC):
    """The same work for all subjects, with the same weights in the memory of one device.

    Args:
        sizes: of it.
        device: "cpu" or "cuda".
        dtype: of hidden states and experts, and of the router.
    """

    def __init__(self, sizes: WorkSizes, device: str, dtype: DType) -> None:
        self.sizes = sizes
        self.device = device
        self.dtype = dtype

    @abstractmethod
    def subject(self, name: str) -> Subject:
        """The one of that name: ours, or a peer of the work's kind.

        Raises:
            CannotRunError: why a peer cannot.
        """

    @abstractmethod
    def reference(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What is right, in float64: a few tokens (T', D) -> (T', D) or (T', E), and (T',) how far each was decided.

        The second is the distance of the nearest other selection. Autograd runs through the first.
        """

    def refuse(self, name: str, num_tokens: int) -> None:  # noqa: B027  # most can do any
        """Raise `CannotRunError` where a subject cannot do so many tokens."""

    def draw(self, num_tokens: int, seed: int = 0) -> Tensor:
        """Hidden states (T, D) from N(0, 1), the same wherever the work is."""
        generator = torch.Generator().manual_seed(derive_seed("peers tokens", seed))
        tokens = torch.randn(num_tokens, self.sizes.hidden_size, generator=generator)
        return tokens.to(self.device, self.dtype.hidden_states)


def gradient_of(output: Tensor) -> Tensor:
    """What a backward pass begins with, drawn from N(0, 1) in the output's shape, the same in every process."""
    generator = torch.Generator().manual_seed(derive_seed("peers gradient", 0))
    return torch.randn(output.shape, generator=generator).to(output)


def gap(logits: Tensor, top_k: int) -> Tensor:
    """(T, E) -> (T,): by how much the last of K is above the first that is left out; infinite where none is."""
    if top_k == logits.shape[1]:
        return torch.full_like(logits[:, 0], torch.inf)
    ordered = logits.detach().sort(dim=1, descending=True).values
    return ordered[:, top_k - 1] - ordered[:, top_k]
