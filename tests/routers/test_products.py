"""Products and blocks against float64, values and gradients, on both sides of each size at which the way changes."""

import pytest
import torch
import torch.nn.functional as F

from routers.products import BLOCK_BYTES, expert_product, in_blocks


@pytest.mark.parametrize("num_experts", [1, 3, 8, 9])
@pytest.mark.parametrize("num_tokens", [0, 1, 15, 16, 37])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_product_is_the_linear_map_in_float64(num_experts, num_tokens, with_bias):
    torch.manual_seed(0)
    values = [torch.randn(num_tokens, 33), torch.randn(num_experts, 33)] + [torch.randn(num_experts)] * with_bias
    found, right = (
        [value.to(dtype, copy=True).requires_grad_() for value in values] for dtype in (torch.float32, torch.float64)
    )
    weighed = torch.randn(num_tokens, num_experts)
    product, expected = expert_product(*found), F.linear(*right)
    torch.testing.assert_close(product.double(), expected, atol=1e-5, rtol=1e-5)
    (product * weighed).sum().backward()
    (expected * weighed.double()).sum().backward()
    for mine, reference in zip(found, right, strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_dtype_takes_the_plain_product(dtype):
    tokens, weight = torch.ones(20, 4, dtype=dtype), torch.ones(2, 4, dtype=dtype)
    assert torch.equal(expert_product(tokens, weight), F.linear(tokens, weight))
    assert expert_product(tokens.view(4, 5, 4), weight).shape == (4, 5, 2)


@pytest.mark.parametrize("name", ["mlp", "mlp_hadamard", "self_supervised", "hadamard"])
def test_blocks_change_nothing_but_rounding(name, make_router, random_tokens):
    router = make_router(name, hidden_size=64, spread=0.1)
    size = BLOCK_BYTES // (64 * 4)
    tokens = random_tokens(size + 1, 64)  # a block, and one that is a single token
    whole = router.unmasked_logits(tokens)
    with torch.no_grad():
        in_two = router.unmasked_logits(tokens)
    torch.testing.assert_close(in_two, whole.detach(), atol=1e-5, rtol=1e-5)


def test_with_autograd_there_is_one_block():
    seen = []
    tokens = torch.zeros(BLOCK_BYTES // 4 + 1, 1)
    in_blocks(lambda block: seen.append(len(block)) or block, tokens)
    with torch.no_grad():
        in_blocks(lambda block: seen.append(len(block)) or block, tokens)
    assert seen == [len(tokens), len(tokens) - 1, 1]
