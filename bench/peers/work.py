"""What is compared: the same work, done by several.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

OURS, TWIN = "ours", "ours@again"
"""The baseline, and the baseline a second time."""
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""How far an output may be from the float64 reference, as a share of the reference's largest value."""


class CannotRunError(Exception):
    """A peer that cannot do the work here; the message is the reason."""


@dataclass(frozen=True)
class Sizes:
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

    def __str__(self) -> str:
        sizes = (self.hidden_size, self.intermediate_size, self.num_experts, self.top_k)
        return "/".join(str(size) for size in sizes if size)


@dataclass(frozen=True, eq=False)
class Subject:
    """Somebody who does the work.

    Attributes:
        forward: hidden states (T, D) -> what is compared, (T, D) or (T, E).
        parameters: those that gradients are made for.
        call: what is timed without gradients, where `forward` does more than the peer itself, to be compared.
    """

    forward: Callable[[Tensor], Tensor]
    parameters: Sequence[nn.Parameter]
    call: Callable[[Tensor], object] | None = None


class Work(ABC):
    """The same work for all subjects, with the same weights.

    Attributes:
        name: of the work.
        sizes: of it.
        modes: how a call is made: names of `MODES`.
        device: where its weights are.
    """

    name: str
    sizes: Sizes
    modes: tuple[str, ...]
    device: str

    @abstractmethod
    def subjects(self, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Subject]]]:
        """Names, ours first, and what makes each; a `CannotRunError` says why a peer cannot."""

    @abstractmethod
    def reference(self, tokens: Tensor) -> Tensor:
        """What is right, in float64: a few tokens (T', D) -> (T', D) or (T', E)."""

    def refuse(self, subject: str, num_tokens: int, dtype: torch.dtype) -> None:  # noqa: B027  # most can do any
        """Raise `CannotRunError` where a subject cannot do so many tokens."""


@contextmanager
def gradients(wanted: bool) -> Iterator[None]:
    """Autograd on or off."""
    with torch.set_grad_enabled(wanted):
        yield


def forward_call(subject: Subject, tokens: Tensor) -> Callable[[], object]:
    """One call without gradients."""
    call = subject.call or subject.forward
    return lambda: call(tokens)


def training_call(subject: Subject, tokens: Tensor) -> Callable[[], object]:
    """Forward and backward, with gradients of tokens and parameters."""
    upstream = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1)).to(tokens)

    def call() -> None:
        leaf = tokens.detach().requires_grad_()
        subject.forward(leaf).backward(upstream)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    return call


MODES: Mapping[str, Callable[[Subject, Tensor], Callable[[], object]]] = {
    "forward": forward_call,
    "training": training_call,
}
"""How a call is made, by name."""


def expect_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise a ValueError where an output is not the reference's, as far as the dtype allows."""
    if found.shape != expected.shape:
        raise ValueError(f"the output has shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    expected = expected.to(found.device)
    scale = float(expected.abs().max())
    error = float((found.double() - expected).abs().max()) / scale
    if not error <= CLOSE[dtype]:
        raise ValueError(f"the output is {error:.2g} of the largest value off the float64 reference")
