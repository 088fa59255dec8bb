"""Whether those who are to be timed do the same work: against a float64 reference, and against each other.

Axes: T tokens, D hidden size, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.peers.catalogue import TRAINING
from bench.peers.work import Subject, Work, gradient_of
from bench.router.checked import BASELINE, TWIN
from bench.timing.group import CannotRunError, Checked
from bench.timing.interleave import one_line

CHECKED_TOKENS = 8
"""So many tokens are compared with the reference, which takes one after the other."""
LEAST_AGREEMENT = 0.75
"""The share of all tokens whose outputs must be ours: of the others rounding may have decided otherwise."""
SEEDS = 32
"""So many batches are drawn until one has a token that rounding cannot decide."""
LEAST = 1e-5
"""The rounding of float32, over sums of a thousand terms."""


@dataclass(frozen=True, eq=False)
class CheckedPeer(Checked):
    """Somebody who may be timed, or the reason why not.

    Attributes:
        parameters: how many have gradients.
        error_to_reference: the largest difference of an output, as a share of the largest output.
        agreement: the share of the batch's tokens whose outputs are ours, as far as rounding allows.
    """

    parameters: int = 0
    error_to_reference: float | None = None
    agreement: float | None = None


def tolerance_of(work: Work, dtype: torch.dtype) -> float:
    """How far an output may be off, as a share of the largest: it grows with the root of the length of sums."""
    longest = max(work.sizes.hidden_size, work.sizes.intermediate_size)
    return max(LEAST, 4 * torch.finfo(dtype).eps) * max(1.0, math.sqrt(longest / 1024))


def check_subjects(work: Work, mode: str, num_tokens: int, names: Iterable[str]) -> dict[str, CheckedPeer]:
    """Compare each with the reference and with ours; those who are wrong, or cannot run here, have their error.

    Args:
        work: with its weights.
        mode: in training gradients of the tokens are compared too.
        num_tokens: T, of the batch that is timed: what a peer does may hang on it.
        names: ours, its twin, and peers.
    """
    batch = _Batch(work, mode, num_tokens)
    ours = batch.outputs(work.subject(BASELINE))
    return {name: _check(work, batch, name, ours) for name in names}


class _Batch:
    """Tokens with what is right for some of them."""

    def __init__(self, work: Work, mode: str, num_tokens: int) -> None:
        self.tolerance = tolerance_of(work, work.dtype.hidden_states)
        self.gradients = mode == TRAINING
        for seed in range(SEEDS):
            self.tokens = work.draw(num_tokens, seed)
            index = torch.linspace(0, num_tokens - 1, min(CHECKED_TOKENS, num_tokens)).long().to(self.tokens.device)
            few = self.tokens[index].double().requires_grad_(self.gradients)
            with torch.set_grad_enabled(self.gradients):
                expected, margin = work.reference(few)
            decided = margin > _undecided(work)
            if decided.any():
                break
        self.index = index[decided]
        self.expected = {"output": expected.detach()[decided]}
        self._upstream = gradient_of(expected)
        self._rows = index
        if self.gradients:
            expected.backward(self._upstream)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            assert few.grad is not None
            self.expected["gradient of the tokens"] = few.grad[decided]

    def outputs(self, subject: Subject) -> dict[str, Tensor]:
        """Of the whole batch, and in training its gradients."""
        with torch.set_grad_enabled(self.gradients):
            leaf = self.tokens.detach().requires_grad_(self.gradients)
            output = subject.outputs(leaf)
            found = {"output": output.detach()}
            if self.gradients:
                upstream = torch.zeros_like(output)
                upstream[self._rows] = self._upstream.to(output)
                output.backward(upstream)  # type: ignore[no-untyped-call]  # torch leaves it untyped
                assert leaf.grad is not None
                found["gradient of the tokens"] = leaf.grad
                for parameter in subject.parameters:
                    parameter.grad = None
            return found

    def largest_error(self, found: dict[str, Tensor]) -> float:
        """As a share of the largest value; raises a ValueError where it is beyond the tolerance."""
        worst = 0.0
        for what, expected in self.expected.items():
            actual = found[what]
            if actual.shape[1:] != expected.shape[1:]:
                raise ValueError(f"the {what} has shape {tuple(actual.shape)}, expected (T, {expected.shape[1]})")
            error = float((actual[self.index].double() - expected).abs().max() / expected.abs().max())
            if not error <= self.tolerance:
                raise ValueError(
                    f"the {what} is {error:.2g} of the largest value off the float64 reference, "
                    f"expected at most {self.tolerance:.2g}"
                )
            worst = max(worst, error)
        return worst

    def agreement(self, found: dict[str, Tensor], ours: dict[str, Tensor]) -> float:
        """The share of tokens with our output; raises a ValueError where those are few."""
        one, other = found["output"].double(), ours["output"].double()
        same = (one - other).abs().amax(dim=1) <= 2 * self.tolerance * other.abs().max()
        share = float(same.double().mean())
        if share < LEAST_AGREEMENT and len(same) > CHECKED_TOKENS:
            raise ValueError(
                f"its output is ours for {share:.0%} of the tokens, expected at least {LEAST_AGREEMENT:.0%}"
            )
        return share


def _undecided(work: Work) -> float:
    """Logits of N(0, 1) tokens and weights of 0.02: three deviations of them, rounded twice."""
    largest = max(1.0, 3 * 0.02 * math.sqrt(work.sizes.hidden_size))
    eps = max(torch.finfo(dtype).eps for dtype in (work.dtype.hidden_states, work.dtype.router))
    return max(LEAST, eps) * largest


def _check(work: Work, batch: _Batch, name: str, ours: dict[str, Tensor]) -> CheckedPeer:
    try:
        work.refuse(name, len(batch.tokens))
        subject = work.subject(name)
        found = _found(batch, subject, name)
        parameters = sum(parameter.numel() for parameter in subject.parameters)
        return CheckedPeer(
            parameters=parameters,
            error_to_reference=batch.largest_error(found),
            agreement=batch.agreement(found, ours),
        )
    except Exception as error:  # a peer may fail in any way; the others go on
        return CheckedPeer(error=error)


def _found(batch: _Batch, subject: Subject, name: str) -> dict[str, Tensor]:
    """What a subject makes of the batch; a peer that makes nothing of it cannot run here."""
    try:
        return batch.outputs(subject)
    except Exception as error:
        if name in (BASELINE, TWIN):
            raise
        raise CannotRunError(f"its call fails: {one_line(error)}"[:300]) from error
