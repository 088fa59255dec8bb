"""When the native kernel carries out a rule. Axes: T tokens, E experts, K experts per token."""

import warnings

import pytest
import torch

from routers import SelectionRule, create_router, get_selection_rule, list_selection_rules
from routers.native import use, use_native_kernels
from routers.selection import use_selection_path
from routers.selection.native import NATIVE_PATH, path

pytest.importorskip("numba", reason="numba is not installed: the extra `native`")


def test_suits_float32_logits_of_a_cpu_without_a_gradient():
    rule, logits = SelectionRule(), torch.zeros(100, 8)
    assert NATIVE_PATH.suits(rule, logits, 2)
    assert not NATIVE_PATH.suits(get_selection_rule("top_p"), logits, 2)
    assert not NATIVE_PATH.suits(get_selection_rule("gemma4"), logits, 2)
    assert not NATIVE_PATH.suits(rule, logits.double(), 2)
    assert not NATIVE_PATH.suits(rule, logits.requires_grad_(), 2)
    with torch.no_grad():
        assert NATIVE_PATH.suits(rule, logits, 2)
        with use_native_kernels(False):
            assert not NATIVE_PATH.suits(rule, logits, 2)


def test_wins_where_it_was_measured_to_win(monkeypatch):
    softmax, sigmoid, softplus = (get_selection_rule(name) for name in ("softmax", "glm4_moe", "deepseek_v4"))
    one, many = torch.zeros(1, 64), torch.zeros(1000, 64)
    wins = NATIVE_PATH.wins
    assert [wins(softmax, one, 2), wins(softmax, many, 2), wins(softmax, many, 17)] == [False, True, False]
    assert [wins(sigmoid, one, 2), wins(sigmoid, many, 2)] == [True, True]
    assert [wins(softplus, one, 2), wins(softplus, many, 2)] == [True, False]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert [wins(sigmoid, one, 2), wins(sigmoid, many, 2)] == [True, False]


@pytest.mark.parametrize("name", list_selection_rules())
def test_a_router_with_the_kernel_is_the_router_without(name, make_router, random_tokens):
    router, tokens = (
        make_router("linear", hidden_size=16, num_experts=24, top_k=3, selection=name),
        random_tokens(90, 16),
    )

    def everything(path):
        with torch.no_grad(), use_selection_path(path):
            routing = router(tokens)
            read = [routing.routing_weights, routing.router_probs, routing.router_scores, routing.ranked]
        return [routing.selected_experts, *read, routing.router_logits]

    torch.testing.assert_close(everything("native"), everything("eager"))


def test_every_scorer_may_have_it(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name), random_tokens(90, 32)
    with torch.no_grad():
        found = router(tokens)
        with use_native_kernels(False):
            expected = router(tokens)
    torch.testing.assert_close(found.router_probs, expected.router_probs)
    for each in ("selected_experts", "routing_weights"):
        if hasattr(found, each):
            torch.testing.assert_close(getattr(found, each), getattr(expected, each))


def test_a_gradient_is_the_eager_paths(make_router, random_tokens):
    router = make_router("linear")
    with use_selection_path("native"):
        routing = router(random_tokens(90, 32))
    assert routing.routing_weights.grad_fn is not None


def test_a_compiled_router_is_one_graph(compiler, make_router, random_tokens):
    router, tokens = make_router("linear"), random_tokens(90, 32)
    with torch.no_grad():
        found = torch.compile(lambda tokens: router(tokens).routing_weights, fullgraph=True, backend="eager")(tokens)
        torch.testing.assert_close(found, router(tokens).routing_weights)


def test_a_kernel_that_fails_is_given_up_and_the_eager_steps_go_on(monkeypatch, random_tokens):
    def fail(name):
        raise RuntimeError("no locator available for file 'kernels.py'\nof numba's cache")

    router, tokens = (
        create_router("linear", hidden_size=8, num_experts=6, top_k=2, selection="glm4_moe"),
        random_tokens(5, 8),
    )
    with torch.no_grad():
        expected = router(tokens)
        monkeypatch.setattr(use, "_faults", [])
        monkeypatch.setattr(path, "load", fail)
        with pytest.warns(UserWarning, match="from now on: RuntimeError: no locator available for file 'kernels.py'$"):
            found = router(tokens)
        with warnings.catch_warnings(action="error"):
            router(tokens)
    torch.testing.assert_close(found.routing_weights, expected.routing_weights)


def test_a_default_device_of_somebody_elses_is_not_where_results_lie(random_tokens):
    rule, logits = get_selection_rule("glm4_moe"), random_tokens(3, 8)
    expected = rule.select(logits, 2)
    with torch.device("meta"):
        found = rule.select(logits, 2)
    torch.testing.assert_close(found.routing_weights, expected.routing_weights)
