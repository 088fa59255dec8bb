"""The product's kernel against float64. Axes: T tokens, D values of each, E experts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import create_router
from routers.native import products, use, use_native_kernels
from routers.native.products import native_product

pytest.importorskip("numba", reason="numba is not installed: the extra `native`")


@pytest.fixture(autouse=True)
def any_number_of_products(monkeypatch):
    monkeypatch.setattr(products, "LEAST_PRODUCTS", 0)
    monkeypatch.setattr(products, "LEAST_VALUES", 0)


@given(
    st.integers(1, 70), st.integers(1, 200), st.integers(1, 64), st.booleans(), st.integers(0, 3), st.integers(0, 1000)
)
def test_is_the_product(num_tokens, size, num_experts, with_bias, gap, seed):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(num_tokens, size + gap, generator=draw)[:, :size]
    weight = torch.randn(num_experts, size, generator=draw)
    bias = torch.randn(num_experts, generator=draw) if with_bias else None
    found = native_product(tokens, weight, bias)
    expected = tokens.double() @ weight.double().t() + (0 if bias is None else bias.double())
    assert found is not None
    assert found.shape == (num_tokens, num_experts)
    assert float((found.double() - expected).abs().max()) < 4e-7 * (size + 1)


def test_a_token_with_a_nan_or_an_infinity_has_them_and_no_other(random_tokens):
    tokens, weight = random_tokens(9, 40), random_tokens(6, 40, seed=1)
    expected = native_product(tokens, weight, None).clone()
    tokens[2, 3], tokens[7, 39] = math.nan, math.inf
    found = native_product(tokens, weight, None)
    assert found[2].isnan().all()
    assert torch.equal(found[7], weight[:, 39] * math.inf)
    others = [row for row in range(9) if row not in (2, 7)]
    assert torch.equal(found[others], expected[others])


def test_what_it_does_not_do_is_left_to_torch(random_tokens, monkeypatch):
    tokens, weight = random_tokens(20, 32), random_tokens(8, 32, seed=1)
    learned = torch.nn.Parameter(weight.clone())
    assert native_product(tokens, weight, None) is not None
    refused = [
        (tokens, learned, None),
        (tokens.double(), weight.double(), None),
        (tokens.unsqueeze(0), weight, None),
        (random_tokens(32, 20).t(), weight, None),
        (tokens[:1].expand(20, 32), weight, None),
        (tokens, random_tokens(32, 8).t(), None),
        (tokens, random_tokens(65, 32), None),
        (tokens, weight, torch.nn.Parameter(torch.zeros(8))),
    ]
    assert all(native_product(*given) is None for given in refused)
    with torch.no_grad():
        assert native_product(tokens, learned, None) is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert native_product(tokens, weight, None) is None


def test_few_products_and_short_tokens_are_left_to_torch(monkeypatch, random_tokens):
    monkeypatch.undo()
    weight = random_tokens(8, 768, seed=1)
    assert native_product(random_tokens(16, 768), weight, None) is None
    assert native_product(random_tokens(32, 768), weight, None) is not None
    assert native_product(random_tokens(4096, 64), weight[:, :64].contiguous(), None) is None


def test_a_router_computes_with_it(random_tokens):
    router, tokens = create_router("linear", hidden_size=32, num_experts=8, top_k=2, bias=True), random_tokens(50, 32)
    with torch.no_grad():
        found = router(tokens)
        with use_native_kernels(False):
            expected = router(tokens)
    assert found.router_logits.stride() == (1, 50)
    torch.testing.assert_close(found.router_logits, expected.router_logits, atol=1e-6, rtol=1e-5)


def test_a_kernel_that_fails_is_given_up(monkeypatch, random_tokens):
    def fail():
        raise ImportError("llvmlite")

    monkeypatch.setattr(use, "_faults", [])
    monkeypatch.setattr(products, "_kernel", fail)
    with pytest.warns(UserWarning, match="native kernels cannot be used.*ImportError: llvmlite"):
        assert native_product(random_tokens(20, 32), random_tokens(8, 32), None) is None
