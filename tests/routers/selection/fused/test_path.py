"""When the kernel is used, and that nothing fails where it cannot be: no triton, or one that is broken.

Axes: T tokens, E experts, K experts per token.
"""

import warnings
from importlib.util import find_spec

import pytest
import torch

from routers import SelectionRule, create_router, get_selection_rule
from routers.selection.fused import FUSED_PATH, path
from routers.selection.paths import SelectionPath, register_selection_path, use_selection_path


@pytest.fixture
def forget(monkeypatch):
    """A process that has not tried the kernel yet, in which it would run in the interpreter."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(path, "_faults", [])
    path.has_triton.cache_clear()
    yield
    path.has_triton.cache_clear()


@pytest.mark.skipif(find_spec("triton") is not None, reason="a triton that works is installed")
@pytest.mark.parametrize("name", ["softmax", "glm4_moe", "gemma4"])
def test_a_broken_triton_is_said_once_and_the_eager_path_taken(name, forget, monkeypatch, tmp_path, random_tokens):
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise ImportError('libtriton.so: undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    router = create_router("linear", hidden_size=8, num_experts=6, top_k=2, selection=name)
    tokens = random_tokens(5, 8)
    expected = router(tokens)
    with use_selection_path("fused"):
        with pytest.warns(UserWarning, match="eager path is taken from now on: ImportError: libtriton.so") as said:
            found = router(tokens)
        assert len(said) == 1
        with warnings.catch_warnings(action="error"):
            router(tokens)
    assert torch.equal(found.selected_experts, expected.selected_experts)
    torch.testing.assert_close(found.routing_weights, expected.routing_weights)
    torch.testing.assert_close(found.router_probs, expected.router_probs)


def test_without_triton_nothing_is_said(forget, monkeypatch):
    monkeypatch.setattr(path, "find_spec", lambda name: None)
    assert not FUSED_PATH.suits(SelectionRule(), torch.zeros(2, 8), 2)
    with use_selection_path("fused"), warnings.catch_warnings(action="error"):
        assert get_selection_rule("softmax").select(torch.eye(3), 1).selected_experts.tolist() == [[0], [1], [2]]


def test_on_a_cpu_the_kernel_is_not_taken(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not FUSED_PATH.suits(SelectionRule(), torch.zeros(2, 8), 2)
    assert not FUSED_PATH.wins(SelectionRule(), torch.zeros(2, 8), 2)


def test_what_is_traced_sees_the_eager_paths_operations(forget, monkeypatch):
    monkeypatch.setattr(path, "find_spec", lambda name: object())
    rule, seen = SelectionRule(), []

    def look(logits):
        seen.append(FUSED_PATH.suits(rule, logits, 2))
        return logits

    look(torch.zeros(2, 8))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    look(torch.zeros(2, 8))
    assert seen == [True, False]


def test_paths_have_names_of_their_own():
    with pytest.raises(ValueError, match="selection path is 'fast', expected None or one of: eager, fused"):
        use_selection_path("fast").__enter__()
    other = SelectionPath("fused", FUSED_PATH.suits, lambda *_: True, FUSED_PATH.select)
    with pytest.raises(ValueError, match="selection path 'fused' is already registered"):
        register_selection_path(other)


def test_weights_of_experts_that_are_selected_are_those_of_the_selection(random_tokens):
    logits, factors = random_tokens(4, 9).double(), random_tokens(9, seed=1).double()
    for name in ("gemma4", "deepseek_v3", "granitemoe"):
        rule = get_selection_rule(name, num_groups=1, groups_kept=1)
        learned = factors if rule.expert_scale else None
        found = rule.select(logits, 3, None, learned)
        assert torch.equal(rule.weigh(logits, found.selected_experts, learned), found.routing_weights)
