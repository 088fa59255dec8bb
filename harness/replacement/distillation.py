"""A router fitted to what another one does: a warm start in a pretrained model, or a cheap student of a costly router.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from routers import Router
from routers.metrics import agreement


@dataclass(frozen=True)
class Fit:
    """The result of a distillation, on the tokens that it was fitted on.

    Attributes:
        agreement: share of the teacher's experts that the student selects too, (before, after).
        divergence: KL(teacher ‖ student), nats, mean over tokens, (before, after).
    """

    agreement: tuple[float, float]
    divergence: tuple[float, float]


@dataclass(frozen=True)
class Amount:
    """The length of a distillation: steps of Adam, tokens in each, the learning rate at first (it falls to zero)."""

    steps: int = 400
    batch_size: int = 512
    learning_rate: float = 1e-2


def distil_router(
    student: Router,
    hidden_states: Tensor,
    teacher_logits: Tensor,
    teacher_experts: Tensor,
    *,
    amount: Amount | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a router to a teacher's decisions.

    The loss has two terms. KL(teacher ‖ student) over that of a student who knows nothing makes the probabilities
    alike. Not every router can be as sure as its teacher, though (attention's logits are bounded), and such a one would
    be pushed against its bounds at the cost of the order, which decides what is selected; so the second is 1 − the
    correlation of the two's logits over the experts, to which no scale matters.

    Args:
        student: is changed; one without parameters stays as it is.
        hidden_states: (T, D), what the teacher saw.
        teacher_logits: (T, E), whose softmax are the teacher's probabilities.
        teacher_experts: (T, K), what it selected.
        amount: how long.
        seed: of the batches.
    """
    amount = amount or Amount()
    log_teacher = F.log_softmax(teacher_logits.float(), dim=-1)
    before = _compare(student, hidden_states, log_teacher, teacher_experts)
    if not any(parameter.requires_grad for parameter in student.parameters()):
        return Fit((before[0], before[0]), (before[1], before[1]))
    uniform = -torch.full_like(log_teacher, float(log_teacher.shape[-1])).log()
    ignorance = _divergence(log_teacher, uniform).mean()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(student.parameters(), lr=amount.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, amount.steps)
    with torch.enable_grad(), _training(student):
        for _ in range(amount.steps):
            chosen = torch.randint(len(hidden_states), (amount.batch_size,), generator=generator)
            tokens, target = hidden_states[chosen], log_teacher[chosen]
            logits = student.unmasked_logits(tokens).float()
            divergence = _divergence(target, F.log_softmax(logits, dim=-1)).mean()
            loss = divergence / ignorance.clamp_min(1e-6) + 1 - _correlation(logits, target).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
    after = _compare(student, hidden_states, log_teacher, teacher_experts)
    return Fit((before[0], after[0]), (before[1], after[1]))


@torch.no_grad()
def _compare(student: Router, hidden_states: Tensor, log_teacher: Tensor, experts: Tensor) -> tuple[float, float]:
    """Agreement and divergence."""
    routing: Any = student(hidden_states)
    divergence = _divergence(log_teacher, F.log_softmax(student.unmasked_logits(hidden_states).float(), dim=-1))
    return float(agreement(experts, routing.selected_experts)), float(divergence.mean())


def _divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    """KL(teacher ‖ student), token by token: (T, E), (T, E) -> (T,)."""
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """The correlation over the experts, token by token: (T, E), (T, E) -> (T,)."""
    first, second = (values - values.mean(dim=-1, keepdim=True) for values in (first, second))
    return F.cosine_similarity(first, second, dim=-1, eps=1e-6)


@contextmanager
def _training(router: Router) -> Iterator[None]:
    was_training = router.training
    router.train()
    try:
        yield
    finally:
        router.train(was_training)
        router.zero_grad(set_to_none=True)
