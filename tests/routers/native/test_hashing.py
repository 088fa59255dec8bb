"""The hash's kernel against the router's own definition by torch's operators. Axes: T tokens, N values of a token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import create_router
from routers.native import hashing, use, use_native_kernels

pytest.importorskip("numba", reason="numba is not installed: the extra `native`")


def both_ways(router, tokens):
    with use_native_kernels(False):
        plain = router(tokens)
    return router(tokens), plain


@pytest.fixture
def kernel_calls(monkeypatch):
    """How often the kernel ran."""
    calls, kernel = [], hashing._kernel()
    monkeypatch.setattr(hashing, "_kernel", lambda: lambda *sizes: (calls.append(sizes[4:]), kernel(*sizes)))
    return calls


@given(
    st.integers(0, 40), st.integers(1, 100).map(lambda half: 2 * half), st.integers(1, 300), st.integers(0, 2**32 - 1)
)
def test_every_token_meets_the_same_expert(num_tokens, hidden_size, num_experts, seed):
    tokens = torch.randn(num_tokens, hidden_size, generator=torch.Generator().manual_seed(seed))
    router = create_router("hash", hidden_size=hidden_size, num_experts=num_experts, top_k=1, seed=seed)
    native, plain = both_ways(router, tokens)
    assert torch.equal(native.selected_experts, plain.selected_experts)
    assert native.selected_experts.dtype == plain.selected_experts.dtype


def test_the_kernel_is_what_runs(kernel_calls, random_tokens):
    create_router("hash", hidden_size=64, num_experts=8, top_k=1)(random_tokens(7, 64))
    assert len(kernel_calls) == 1
    assert kernel_calls[0][:3] == (7, 32, 8)


def test_other_dtypes_and_strides_are_made_what_the_kernel_reads(kernel_calls, random_tokens):
    router = create_router("hash", hidden_size=32, num_experts=8, top_k=1)
    tokens = random_tokens(6, 32)
    for given_tokens in (tokens.bfloat16(), tokens.double(), random_tokens(32, 6).t(), tokens[::2]):
        native, plain = both_ways(router, given_tokens)
        assert torch.equal(native.selected_experts, plain.selected_experts)
    assert len(kernel_calls) == 4


def test_what_the_kernel_does_not_read_is_left_to_torch(kernel_calls, random_tokens):
    odd = create_router("hash", hidden_size=33, num_experts=8, top_k=1)
    odd(random_tokens(4, 33))
    router = create_router("hash", hidden_size=32, num_experts=8, top_k=1)
    shifted = random_tokens(1, 4 * 32 + 1)[0, 1:].view(4, 32)
    assert shifted.data_ptr() % 8
    native, plain = both_ways(router, shifted)
    assert torch.equal(native.selected_experts, plain.selected_experts)
    assert not kernel_calls


def test_many_threads_divide_many_values_among_them(kernel_calls, random_tokens, monkeypatch):
    router = create_router("hash", hidden_size=512, num_experts=8, top_k=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    router(random_tokens(256, 512))
    router(random_tokens(257, 512))
    assert len(kernel_calls) == 1


def test_a_kernel_that_fails_is_given_up(monkeypatch, random_tokens):
    def fail():
        raise ImportError("llvmlite")

    router, tokens = create_router("hash", hidden_size=32, num_experts=8, top_k=1), random_tokens(4, 32)
    expected = router(tokens)
    monkeypatch.setattr(use, "_faults", [])
    monkeypatch.setattr(hashing, "_kernel", fail)
    with pytest.warns(UserWarning, match="native kernels cannot be used.*ImportError: llvmlite"):
        found = router(tokens)
    assert torch.equal(found.selected_experts, expected.selected_experts)
