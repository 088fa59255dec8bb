"""A student learns what its teacher decides, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from harness.replacement.distillation import Amount, distil_router
from routers import create_router, get_selection_rule, list_routers

TOKENS, HIDDEN, EXPERTS, TOP_K = 2000, 32, 8, 2
LEARNS = ["linear", "attention", "mlp", "hybrid", "self_supervised"]
"""Those that can express a linear teacher."""


@pytest.fixture
def teacher() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden_states = torch.randn(TOKENS, HIDDEN) * torch.rand(HIDDEN)
    logits = hidden_states @ torch.randn(EXPERTS, HIDDEN).T / HIDDEN**0.5
    return hidden_states, logits, logits.topk(TOP_K).indices


@pytest.mark.parametrize("name", LEARNS)
def test_a_student_learns_what_is_selected(teacher: tuple[torch.Tensor, ...], name: str) -> None:
    torch.manual_seed(1)
    student = create_router(name, hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K)
    fit = distil_router(student, *teacher, amount=Amount(steps=200))
    assert fit.agreement[0] < 0.5
    assert fit.agreement[1] > 0.85
    assert fit.divergence[1] < fit.divergence[0] + 1e-3
    assert all(parameter.grad is None for parameter in student.parameters())


def test_a_linear_student_of_a_linear_teacher_becomes_its_equal(teacher: tuple[torch.Tensor, ...]) -> None:
    student = create_router("linear", hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K)
    fit = distil_router(student, *teacher)
    assert fit.agreement[1] > 0.99
    assert fit.divergence[1] < 1e-4
    assert torch.allclose(student(teacher[0]).router_probs, F.softmax(teacher[1], dim=-1), atol=0.02)


def test_a_linear_student_of_a_router_with_a_hidden_layer(teacher: tuple[torch.Tensor, ...]) -> None:
    torch.manual_seed(2)
    expressive = create_router("mlp", hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K)
    hidden_states = teacher[0]
    with torch.no_grad():
        routing = expressive(hidden_states)
    student = create_router("linear", hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K)
    fit = distil_router(student, hidden_states, routing.router_logits, routing.selected_experts)
    assert fit.agreement[1] > max(0.8, fit.agreement[0])


@pytest.mark.parametrize("name", sorted(set(list_routers()) - set(LEARNS)))
def test_every_other_router_comes_through(teacher: tuple[torch.Tensor, ...], name: str) -> None:
    student = create_router(name, hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K)
    before = copy.deepcopy(student.state_dict())
    fit = distil_router(student, *teacher, amount=Amount(steps=5))
    learned = any(not torch.equal(before[key], value) for key, value in student.state_dict().items())
    assert learned == any(True for _ in student.parameters())
    assert learned or fit.agreement[0] == fit.agreement[1]


def test_the_same_seed_gives_the_same_student(teacher: tuple[torch.Tensor, ...]) -> None:
    students = []
    for _ in range(2):
        torch.manual_seed(3)
        students.append(create_router("mlp", hidden_size=HIDDEN, num_experts=EXPERTS, top_k=TOP_K))
        distil_router(students[-1], *teacher, amount=Amount(steps=10))
    first, second = (student.state_dict() for student in students)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("students", ["deepseek_v3", "softmax"])
def test_a_teacher_that_ranks_scores_and_a_bias_is_followed_in_its_scores_and_its_order(students: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_states = torch.randn(512, 16, generator=generator)
    logits = hidden_states @ torch.randn(16, 16, generator=generator) / 2
    bias = torch.rand(16, generator=generator) * 0.6 - 0.3
    rule = get_selection_rule("deepseek_v3", num_groups=4, groups_kept=2)
    chosen = rule.select(logits, 4, bias)
    torch.manual_seed(0)
    own = {"selection": rule} if students == "deepseek_v3" else {}
    student = create_router("linear", hidden_size=16, num_experts=16, top_k=4, **own)
    if student.selection_bias is not None:
        student.selection_bias.copy_(bias)
    amount = Amount(steps=250, batch_size=128, learning_rate=3e-2)
    fit = distil_router(student, hidden_states, logits, chosen.selected_experts, rule=rule, bias=bias, amount=amount)
    if students == "deepseek_v3":
        assert fit.agreement[1] > 0.95
        assert (student(hidden_states).router_scores - torch.sigmoid(logits)).abs().mean() < 0.03
    else:  # it has no bias to rank with, and its probabilities cannot be both the scores' shares and that order
        assert fit.agreement[1] > fit.agreement[0] + 0.2


def test_a_slot_that_is_not_kept_agrees_with_nothing() -> None:
    torch.manual_seed(0)
    hidden_states = torch.randn(64, 8)
    # All eight experts have a slot, and a threshold that no probability reaches keeps none.
    student = create_router(
        "linear", hidden_size=8, num_experts=8, top_k=8, selection="threshold", limit=0.9, norm_topk_prob=False
    )
    student.requires_grad_(False)
    logits = torch.randn(64, 8)
    fit = distil_router(student, hidden_states, logits, logits.topk(2).indices)
    assert fit.agreement == (0.0, 0.0)
