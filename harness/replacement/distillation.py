"""A router fitted to what another one does: a warm start in a pretrained model, or a cheap student of a costly router.

Axes: T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.replacement.gate_hooks import kept_experts
from routers import Router, SelectionRule
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
    rule: SelectionRule | None = None,
    bias: Tensor | None = None,
    amount: Amount | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a router to a teacher's decisions.

    The loss has two terms. The first makes the scores alike: KL(teacher ‖ student) over that of a student who knows
    nothing, of the probabilities; of scores by which each expert is judged by itself (sigmoid), where the two share
    them, their squared difference over the variance of the teacher's. Not every router can be as sure as its teacher,
    though (attention's logits are bounded), and such a one would be pushed against its bounds at the cost of the order,
    which decides what is selected; so the second is 1 − the correlation over the experts of what the two rank, to which
    no scale matters: scores with the bias of the ranking, or the logits of a softmax, whose order is the same.

    Args:
        student: is changed; one without parameters stays as it is. A bias of its ranking is not fitted.
        hidden_states: (T, D), what the teacher saw.
        teacher_logits: (T, E).
        teacher_experts: (T, K), what it selected.
        rule: the teacher's selection rule; a softmax unless given.
        bias: (E,), of the teacher's ranking.
        amount: how long.
        seed: of the batches.
    """
    amount = amount or Amount()
    rule = rule or SelectionRule()
    teacher = _view(rule, teacher_logits, bias)
    before = _compare(student, hidden_states, teacher, teacher_experts)
    if not any(parameter.requires_grad for parameter in student.parameters()):
        return Fit((before[0], before[0]), (before[1], before[1]))
    closeness = _closeness(rule, student.selection, teacher)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(student.parameters(), lr=amount.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, amount.steps)
    with torch.enable_grad(), _training(student):
        for _ in range(amount.steps):
            chosen = torch.randint(len(hidden_states), (amount.batch_size,), generator=generator)
            target, seen = teacher.of(chosen), _seen(student, hidden_states[chosen])
            loss = closeness(target, seen) + 1 - _correlation(seen.ranked, target.ranked).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
    after = _compare(student, hidden_states, teacher, teacher_experts)
    return Fit((before[0], after[0]), (before[1], after[1]))


@dataclass(frozen=True)
class _View:
    """What a rule makes of logits: log p, scores, and what is ranked, each (T, E)."""

    log_probs: Tensor
    scores: Tensor
    ranked: Tensor

    def of(self, tokens: Tensor) -> _View:
        return _View(self.log_probs[tokens], self.scores[tokens], self.ranked[tokens])


def _view(rule: SelectionRule, logits: Tensor, bias: Tensor | None) -> _View:
    logits = logits.float()
    if rule.is_softmax_top_k:
        log_probs = F.log_softmax(logits, dim=-1)
        return _View(log_probs, log_probs, log_probs)
    scores = rule.score(logits)
    probs = rule.probabilities(scores)
    return _View(probs.clamp_min(torch.finfo(probs.dtype).tiny).log(), scores, rule.rank(logits, bias))


def _seen(student: Router, hidden_states: Tensor) -> _View:
    return _view(student.selection, student.unmasked_logits(hidden_states), student.selection_bias)


def _closeness(rule: SelectionRule, students: SelectionRule, teacher: _View) -> Callable[[_View, _View], Tensor]:
    """(teacher, student) -> how far the student's scores are, about 1 where it knows nothing."""
    if "softmax" in (rule.score_function, students.score_function) or rule.score_function != students.score_function:
        uniform = -torch.full_like(teacher.log_probs, float(teacher.log_probs.shape[-1])).log()
        ignorance = _divergence(teacher.log_probs, uniform).mean().clamp_min(1e-6)
        return lambda target, seen: _divergence(target.log_probs, seen.log_probs).mean() / ignorance
    variance = teacher.scores.var().clamp_min(1e-6)
    return lambda target, seen: F.mse_loss(seen.scores, target.scores) / variance


@torch.no_grad()
def _compare(student: Router, hidden_states: Tensor, teacher: _View, experts: Tensor) -> tuple[float, float]:
    """Agreement and divergence."""
    routing: Any = student(hidden_states)
    divergence = _divergence(teacher.log_probs, _seen(student, hidden_states).log_probs)
    return float(agreement(experts, kept_experts(routing))), float(divergence.mean())


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
