"""Softmax(q kᵀ) out of attention kernels. Axes: T tokens, E experts, Q query size."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers.scorers import fused_attention
from routers.scorers.fused_attention import (
    FLASH_HEAD_SIZE,
    KERNELS,
    attention_probabilities,
    choose_kernel,
    flash3_function,
    flash_function,
)


def keys_on(device, *shape, dtype=torch.float32):
    """What a kernel is asked about: it looks at nothing but these."""
    return SimpleNamespace(device=torch.device(device), shape=shape, dtype=dtype, requires_grad=True)


@pytest.fixture
def flash_calls(monkeypatch):
    """flash-attn's function as its documentation has it, written out: (B, T, 1, H), half precision, one head size."""
    calls = []

    def flash_attn_func(q, k, v, *, softmax_scale):
        assert q.dtype == k.dtype == v.dtype
        assert q.dtype in (torch.float16, torch.bfloat16)
        assert q.shape[-1] == k.shape[-1] == v.shape[-1] <= 256
        assert q.shape[-1] % 8 == 0
        assert k.shape == v.shape
        assert q.shape[0] == k.shape[0] == q.shape[2] == k.shape[2] == 1
        calls.append((q.dtype, q.shape[-1]))
        scores = torch.einsum("bthd,bshd->bhts", q.float(), k.float()) * softmax_scale
        return torch.einsum("bhts,bshd->bthd", scores.softmax(dim=-1), v.float()).to(q.dtype)

    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_func=flash_attn_func))
    flash_function.cache_clear()
    yield calls
    flash_function.cache_clear()


@pytest.mark.parametrize("installed", [ModuleType("flash_attn"), None], ids=["flash_attn_4", "broken"])
def test_a_package_of_that_name_without_the_function_does_not_count(installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", installed)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    flash_function.cache_clear()
    assert choose_kernel("fused", keys_on("cuda", 8, 64)) == "sdpa"
    flash_function.cache_clear()


@pytest.fixture
def flash3_calls(monkeypatch):
    """fa3-fwd's function: that of flash-attn, in bfloat16 alone and without a backward pass."""
    calls = []

    def flash_attn_func(q, k, v, softmax_scale=None):
        assert q.dtype == k.dtype == v.dtype == torch.bfloat16
        assert q.shape[0] == k.shape[0] == q.shape[2] == k.shape[2] == 1
        calls.append(q.shape)
        scores = torch.einsum("bthd,bshd->bhts", q.float(), k.float()) * softmax_scale
        return torch.einsum("bhts,bshd->bthd", scores.softmax(dim=-1), v.float()).to(q.dtype).detach()

    monkeypatch.setitem(sys.modules, "fa3_fwd_interface", SimpleNamespace(flash_attn_func=flash_attn_func))
    flash3_function.cache_clear()
    yield calls
    flash3_function.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flash3_is_called_in_bfloat16(dtype, flash3_calls, random_tokens, assert_simplex):
    queries = torch.nn.functional.normalize(random_tokens(6, 64), dim=-1).to(dtype)
    keys = torch.nn.functional.normalize(random_tokens(9, 64, seed=1), dim=-1).to(dtype)
    probs = attention_probabilities(queries, keys, "flash3")
    assert flash3_calls == [(1, 6, 1, 64)]
    assert_simplex(probs)
    expected = torch.softmax(queries.float() @ keys.float().T, dim=-1)
    torch.testing.assert_close(probs, expected, atol=KERNELS["flash3"].tolerance, rtol=0)


def test_flash3_serves_where_no_gradient_is_wanted(flash3_calls, monkeypatch):
    monkeypatch.setattr(fused_attention, "flash_function", lambda: None)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    keys = keys_on("cuda", 8, 64)
    assert choose_kernel("fused", keys) == "torch_flash"
    with torch.no_grad():
        assert choose_kernel("fused", keys) == "flash3"
    with pytest.raises(ValueError, match="attention kernel 'flash3': it has no backward pass"):
        choose_kernel("flash3", keys)


@pytest.mark.parametrize(
    ("name", "reason"), [("flash3", "fa3-fwd is not inst"), ("torch_flash", "this torch was built")]
)
def test_other_kernels_say_why_they_cannot(name, reason, monkeypatch):
    monkeypatch.setattr(fused_attention, "flash3_function", lambda: None)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    with torch.no_grad(), pytest.raises(ValueError, match=f"attention kernel '{name}': {reason}"):
        choose_kernel(name, keys_on("cuda", 8, 64))
    with pytest.raises(ValueError, match=f"attention kernel '{name}': it needs a CUDA device"):
        choose_kernel(name, keys_on("cpu", 8, 64))


def test_torchs_flash_kernel_is_asked_for_and_no_other(random_tokens, assert_simplex):
    """On a CPU it is another kernel of the same name; it has no float16 everywhere, so bfloat16 is asked for."""
    queries, keys = (random_tokens(n, 16, seed=n, dtype=torch.bfloat16) for n in (6, 5))
    probs = attention_probabilities(queries, keys, "torch_flash")
    assert_simplex(probs)
    expected = torch.softmax(queries.float() @ keys.float().T, dim=-1)
    torch.testing.assert_close(probs, expected, atol=2e-2, rtol=0)
    assert attention_probabilities(queries[:0], keys, "torch_flash").shape == (0, 5)


@given(
    tokens=st.integers(0, 9),
    num_experts=st.integers(1, 40),
    query_size=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_torchs_kernel_gives_the_softmax(tokens, num_experts, query_size, dtype, random_tokens):
    queries = random_tokens(tokens, query_size, dtype=dtype)
    keys = random_tokens(num_experts, query_size, seed=1, dtype=dtype)
    probs = attention_probabilities(queries, keys, "sdpa")
    assert probs.dtype == dtype
    torch.testing.assert_close(probs, torch.softmax(queries @ keys.T, dim=-1), atol=1e-5, rtol=0)


def test_its_gradients_are_exact(random_tokens):
    arguments = [random_tokens(*shape, dtype=torch.float64).requires_grad_() for shape in ((5, 3), (4, 3))]
    assert torch.autograd.gradcheck(lambda q, k: attention_probabilities(q, k, "sdpa"), arguments)


@pytest.mark.parametrize(
    ("num_experts", "query_size", "head_size"),
    [(8, 64, 64), (60, 64, 64), (128, 64, 128), (5, 7, 8), (256, 16, 256), (1, 1, 8)],
)
@pytest.mark.parametrize(
    ("dtype", "kernels_dtype"),
    [(torch.float32, torch.float16), (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16)],
)
def test_flash_is_called_as_it_wants_to_be(
    num_experts, query_size, head_size, dtype, kernels_dtype, flash_calls, random_tokens, assert_simplex
):
    queries = torch.nn.functional.normalize(random_tokens(2, 3, query_size), dim=-1).to(dtype)
    keys = torch.nn.functional.normalize(random_tokens(num_experts, query_size, seed=1), dim=-1).to(dtype)
    probs = attention_probabilities(queries, keys, "flash")
    assert flash_calls == [(kernels_dtype, head_size)]
    assert probs.shape == (2, 3, num_experts)
    assert_simplex(probs)
    expected = torch.softmax(queries.float() @ keys.float().T, dim=-1)
    torch.testing.assert_close(probs, expected, atol=KERNELS["flash"].tolerance, rtol=0)


def test_gradients_go_through_flash(flash_calls, random_tokens):
    results = []
    for kernel in ("flash", "sdpa"):
        queries, keys = (0.3 * random_tokens(n, 16, seed=n) for n in (6, 5))
        queries.requires_grad_()
        (attention_probabilities(queries, keys, kernel) * random_tokens(6, 5)).sum().backward()
        results.append(queries.grad)
    torch.testing.assert_close(*results, atol=2e-3, rtol=0)


def test_flash_is_not_called_for_no_token(flash_calls):
    queries = torch.zeros(0, 16, requires_grad=True)
    assert attention_probabilities(queries, torch.ones(5, 16), "flash").shape == (0, 5)
    assert flash_calls == []


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        pytest.param(keys_on("cuda", 8, 64), "flash", id="where_flash_can"),
        pytest.param(keys_on("cuda", FLASH_HEAD_SIZE, FLASH_HEAD_SIZE), "flash", id="as_large_as_it_takes"),
        pytest.param(keys_on("cpu", 8, 64), "sdpa", id="on_a_cpu"),
        pytest.param(keys_on("cuda", 8, 64, dtype=torch.float64), "sdpa", id="in_float64"),
        pytest.param(keys_on("cuda", FLASH_HEAD_SIZE + 1, 64), "sdpa", id="with_too_many_experts"),
    ],
)
def test_fused_is_the_first_kernel_that_can(keys, chosen, monkeypatch):
    monkeypatch.setattr(fused_attention, "flash_function", lambda: print)
    assert choose_kernel("fused", keys) == chosen


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (keys_on("cpu", 8, 64), "it needs a CUDA device, the router is on cpu"),
        (keys_on("cuda", 8, 64, dtype=torch.float64), "it computes in half precision, the router is in float64"),
        (keys_on("cuda", 300, 64), "query_size 64 and num_experts 300 must both be at most 256"),
        (keys_on("cuda", 8, 64), r"flash-attn is not installed \(the extra `flash`\)"),
    ],
)
def test_flash_says_why_it_cannot(keys, reason, monkeypatch):
    monkeypatch.setattr(fused_attention, "flash_function", lambda: None)
    with pytest.raises(ValueError, match=f"attention kernel 'flash': {reason}"):
        choose_kernel("flash", keys)


def test_an_unknown_kernel_is_answered_with_those_there_are():
    with pytest.raises(
        ValueError, match="unknown attention kernel 'fast'; there are: fused, flash3, flash, torch_flash, sdpa"
    ):
        choose_kernel("fast", torch.ones(2, 2))
