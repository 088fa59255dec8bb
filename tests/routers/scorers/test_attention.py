"""Attention router, equations (2), (3) and (19). Axes: T tokens, D hidden size, E experts, Q query size."""

import math

import pytest
import torch

from routers import create_router, list_routers, register_from_path
from routers.reference.check import check_router
from routers.registry import restored_registry


@pytest.mark.parametrize(("query_size", "temperature"), [(64, 1.0), (7, 1.0), (16, 0.05)])
@pytest.mark.parametrize("backend", ["plain", "sdpa"])
def test_equals_the_plain_formula(
    query_size, temperature, backend, make_router, plain, parameters_of, assert_equals_formula
):
    sizes = {"hidden_size": 13, "num_experts": 5, "query_size": query_size, "temperature": temperature}
    router = make_router("attention", spread=0.5, backend=backend, **sizes)
    parameters = parameters_of(router)

    def formula(token):
        query = plain.unit(plain.matvec(parameters["query_proj.weight"], token))
        keys = [plain.unit(key) for key in parameters["expert_keys"]]
        return plain.softmax([v / (math.sqrt(query_size) * temperature) for v in plain.matvec(keys, query)])

    assert_equals_formula(router, formula)


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("attention") == 49664  # 768 · 64 + 8 · 64
    assert parameter_count("attention", query_size=16) == 768 * 16 + 8 * 16


def test_logits_are_bounded_by_the_scale(make_router, random_tokens):
    # a cosine is within ±1, so a logit is within ±1/(√16 · 0.5) = ±0.5, however large the token
    router = make_router("attention", query_size=16, temperature=0.5, spread=1.0)
    logits = router(1e4 * random_tokens(50, 32)).router_logits
    assert bool((logits.abs() <= 0.5 + 1e-6).all())


def test_a_token_of_zeros_gets_uniform_probabilities(make_router):
    probs = make_router("attention")(torch.zeros(1, 32)).router_probs
    torch.testing.assert_close(probs, torch.full((1, 8), 1 / 8))


@pytest.mark.parametrize("options", [{"query_size": 0}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_refuses_values_that_are_not_above_zero(options, make_router):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        make_router("attention", **options)


@pytest.mark.parametrize("seed", range(3))
def test_has_the_papers_statistics(seed, paper_statistics):
    # SPEC, section 5: .12724 ± .00004 over seeds, and an entropy of 2.07933
    entropy, top_2 = paper_statistics("attention", seed)
    assert entropy == pytest.approx(2.07933, abs=2e-5)
    assert top_2 == pytest.approx(0.12724, abs=4 * 0.00004)


def both(make_router, **options):
    plain, fused = (
        make_router("attention", spread=0.3, temperature=0.1, backend=backend, **options)
        for backend in ("plain", "fused")
    )
    assert (plain.backend, fused.backend) == ("plain", "sdpa")
    return plain, fused


@pytest.mark.parametrize(
    ("tokens", "experts", "query_size"),
    [
        pytest.param(21, 8, 64, id="more_queries_than_experts"),
        pytest.param(21, 13, 7, id="odd_sizes_and_more_experts"),
        pytest.param(1, 1, 1, id="one_of_each"),
        pytest.param(0, 8, 16, id="no_token"),
        pytest.param(9, 300, 16, id="more_experts_than_a_head_holds"),
    ],
)
def test_through_a_fused_kernel_it_is_the_same_forward_and_backward(
    tokens, experts, query_size, make_router, random_tokens
):
    sizes = {"num_experts": experts, "query_size": query_size, "top_k": min(2, experts)}
    plain, fused = both(make_router, **sizes)
    inputs = random_tokens(tokens, 32)
    weights = random_tokens(tokens, experts, seed=1)
    results = []
    for router in (plain, fused):
        here = inputs.clone().requires_grad_()
        routing = router(here)
        (routing.router_probs * weights).sum().backward()
        results.append(
            [routing.router_probs, routing.routing_weights, here.grad, *(p.grad for p in router.parameters())]
        )
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_a_fused_router_in_bfloat16_gives_a_float32_simplex(make_router, random_tokens, assert_simplex):
    plain, fused = both(make_router)
    inputs = random_tokens(2, 5, 32, dtype=torch.bfloat16)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            assert_simplex(fused(inputs).router_probs)
            assert_simplex(fused.compute_router_probabilities(inputs))
    torch.testing.assert_close(fused(inputs).router_probs, plain(inputs).router_probs, atol=1e-6, rtol=0)
    half = fused.bfloat16()(inputs).router_probs
    assert_simplex(half)
    torch.testing.assert_close(half, plain(inputs).router_probs, atol=0.02, rtol=0)


def test_a_fused_router_keeps_to_its_reference(make_router, random_tokens):
    check_router(make_router("attention", backend="fused"), random_tokens(50, 32))


def test_the_fused_router_can_be_named_on_a_command_line():
    with restored_registry():
        name = register_from_path("routers.scorers.attention:FusedAttentionRouter")
        assert name == "fused_attention_router"
        assert create_router(name, hidden_size=32, num_experts=8, top_k=2).backend == "sdpa"
        assert "fused_attention_router" in list_routers()


def test_it_is_in_no_table_unless_it_is_named():
    assert "fused_attention_router" not in list_routers()


def test_refuses_an_unknown_backend(make_router):
    with pytest.raises(
        ValueError, match="unknown attention backend 'fast'; there are: plain, fused, flash3, flash, torch_flash, sdpa"
    ):
        make_router("attention", backend="fast")


def test_says_why_a_kernel_cannot_serve_it(make_router, random_tokens):
    router = make_router("attention", backend="flash")
    with pytest.raises(ValueError, match="kernel 'flash': it needs a CUDA device, the router is on cpu"):
        router(random_tokens(3, 32))


def test_the_tolerance_is_the_kernels(make_router):
    assert [make_router("attention", backend=backend).tolerance for backend in ("plain", "sdpa")] == [1e-5, 1e-5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_gpu_it_is_the_same_within_the_kernels_tolerance(dtype, make_router, random_tokens):
    router = make_router("attention", temperature=0.1, backend="fused").cuda().to(dtype)
    plain = make_router("attention", temperature=0.1).double()
    plain.load_state_dict(router.state_dict())
    tokens = random_tokens(2048, 32, dtype=dtype)
    probs = router(tokens.cuda()).router_probs
    tolerance = max(router.tolerance, 8 * torch.finfo(dtype).eps)  # of the projection in that dtype
    torch.testing.assert_close(probs.cpu().double(), plain(tokens.double()).router_probs, atol=tolerance, rtol=0)
