"""How a subject is called: forward alone, or forward and backward. Axes: T tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.peers.catalogue import FORWARD, TRAINING
from bench.peers.work import Subject, gradient_of
from bench.timing.interleave import Call


def forward_call(subject: Subject, tokens: Tensor) -> Call:
    """One call without gradients."""
    return lambda: subject.call(tokens)


def training_call(subject: Subject, tokens: Tensor) -> Call:
    """Forward and backward from a fixed gradient, to the tokens (T, D) and the parameters."""
    with torch.no_grad():
        result = subject.differentiable(tokens)
    upstream = gradient_of(result)

    def call() -> None:
        leaf = tokens.detach().requires_grad_()
        subject.differentiable(leaf).backward(upstream)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    return call


def forget_gradients(subject: Subject) -> None:
    """What a call leaves, so that the next one does not add to it."""
    for parameter in subject.parameters:
        parameter.grad = None


CALLS: Mapping[str, Callable[[Subject, Tensor], Call]] = {FORWARD: forward_call, TRAINING: training_call}
"""By the work's mode."""
