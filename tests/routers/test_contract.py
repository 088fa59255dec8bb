"""What every registered router must do (CONTRIBUTING.md, "Add a router").

Axes: B batch, S sequence, T tokens, D hidden size, E experts, K experts per token.
"""

import contextlib
import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import routers.base
from routers import TokenChoice, list_selection_rules
from routers.reference.check import check_router

D, E, K = 32, 8, 2


def token_choice(routing):
    if not isinstance(routing, TokenChoice):
        pytest.skip("says nothing about another routing than token choice")
    return routing


def rules_probabilities(router, tokens):
    """What its rule makes of what the scorer says: of a softmax the scorer's own distribution."""
    if router.selection.is_softmax_top_k:
        return router.compute_router_probabilities(tokens)
    return router.selection.probabilities(router.selection.score(router.unmasked_logits(tokens)))


def with_rule(make_router, name, rule, seed):
    """A router with a rule of 16 experts, its bias away from zero."""
    if routers.get_router_class(name).selects_by_itself:
        pytest.skip(f"{name} selects by itself")
    try:
        router = make_router(name, num_experts=16, top_k=4, seed=seed, spread=0.3, selection=rule)
    except pytest.skip.Exception:
        assume(False)  # a definition that selects more than K, and groups that do not leave so many
    if router.selection_bias is not None:
        router.selection_bias.normal_(std=0.3)
    return router


@pytest.mark.parametrize(
    ("router_dtype", "input_dtype"),
    [
        pytest.param(torch.float32, torch.float32, id="float32"),
        pytest.param(torch.float32, torch.bfloat16, id="float32_router_in_a_bfloat16_model"),
        pytest.param(torch.float32, torch.float16, id="float32_router_in_a_float16_model"),
        pytest.param(torch.bfloat16, torch.bfloat16, id="bfloat16"),
        pytest.param(torch.float16, torch.float16, id="float16"),
    ],
)
def test_gives_a_float32_simplex(router_name, router_dtype, input_dtype, make_router, random_tokens, assert_simplex):
    router = make_router(router_name, spread=0.3).to(router_dtype)
    tokens = random_tokens(21, D, dtype=input_dtype)
    assert_simplex(router.compute_router_probabilities(tokens))
    assert_simplex(router(tokens).router_probs)


def test_float64_stays_float64(router_name, make_router, random_tokens, assert_simplex):
    router = make_router(router_name, spread=0.3).double()
    assert_simplex(router(random_tokens(21, D, dtype=torch.float64)).router_probs, torch.float64)


def test_gives_a_float32_simplex_under_autocast(router_name, make_router, random_tokens, assert_simplex):
    router = make_router(router_name, spread=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        routing = router(random_tokens(21, D))
        assert_simplex(routing.router_probs)
    assert token_choice(routing).routing_weights.dtype == torch.float32


@pytest.mark.parametrize("input_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("router_dtype", [torch.float32, torch.bfloat16])
def test_decides_under_autocast_as_without(router_name, router_dtype, input_dtype, make_router, random_tokens):
    router = make_router(router_name, hidden_size=256, num_experts=192, spread=0.3).to(router_dtype)
    tokens = random_tokens(128, 256, dtype=input_dtype)
    expected = router(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        routing = router(tokens)
        assert torch.equal(routing.router_probs, expected.router_probs)
        probs, fitted = router.compute_router_probabilities(tokens), router.unmasked_logits(tokens)
    assert torch.equal(probs, router.compute_router_probabilities(tokens))
    assert torch.equal(fitted, router.unmasked_logits(tokens))
    assert torch.equal(token_choice(routing).selected_experts, expected.selected_experts)
    assert torch.equal(routing.routing_weights, expected.routing_weights)


@given(
    num_tokens=st.integers(0, 9),
    hidden_size=st.sampled_from([16, 33, 49, 64, 96]),
    sizes=st.integers(1, 9).flatmap(lambda experts: st.tuples(st.just(experts), st.integers(1, experts))),
)
def test_routes_any_sizes(router_name, make_router, random_tokens, assert_simplex, num_tokens, hidden_size, sizes):
    num_experts, top_k = sizes
    try:
        router = make_router(router_name, hidden_size=hidden_size, num_experts=num_experts, top_k=top_k)
    except pytest.skip.Exception:
        return  # its rule's groups do not suit these; others do
    routing = router(random_tokens(num_tokens, hidden_size))
    assert routing.router_probs.shape == (num_tokens, num_experts)
    assert_simplex(routing.router_probs)
    assert routing.tokens_per_expert.shape == (num_experts,)
    selected = token_choice(routing).selected_experts
    assert selected.shape == routing.routing_weights.shape == (num_tokens, router.top_k)
    assert selected.dtype == torch.int64
    assert all(len(set(experts)) == router.top_k for experts in selected.tolist())


@pytest.mark.parametrize(
    ("batch", "sequence"), [(3, 7), (1, 1), pytest.param(2, 0, id="no_token"), pytest.param(0, 5, id="no_sequence")]
)
def test_batches_and_rows_of_tokens_agree(router_name, batch, sequence, make_router, random_tokens, decided):
    router = make_router(router_name, spread=0.3)
    tokens = random_tokens(batch, sequence, D)
    rows = tokens.reshape(-1, D)
    of_rows, of_batches, counts = router(rows), router(tokens), decided(router, rows)
    probs = router.compute_router_probabilities(tokens)
    assert probs.shape == (batch, sequence, E)
    torch.testing.assert_close(of_batches.router_probs[counts], of_rows.router_probs[counts])
    torch.testing.assert_close(probs.reshape(-1, E)[counts], router.compute_router_probabilities(rows)[counts])
    torch.testing.assert_close(rules_probabilities(router, rows)[counts], of_rows.router_probs[counts])
    moved = (of_rows.tokens_per_expert - of_batches.tokens_per_expert).abs()
    assert int(moved.max()) <= int((~counts).sum())
    one, other = (token_choice(routing).selected_experts.sort(dim=-1).values for routing in (of_rows, of_batches))
    assert torch.equal(one[counts], other[counts])


def test_what_it_is_fitted_by_decides_as_it_does(router_name, make_router, random_tokens, decided):
    router, tokens = make_router(router_name, spread=0.3), random_tokens(21, D)
    logits = router.unmasked_logits(tokens)
    assert logits.shape == (21, E)
    assert logits.isfinite().all()
    selected = token_choice(router(tokens)).selected_experts.sort(dim=-1).values
    if router.selection.is_softmax_top_k:
        best = logits.topk(router.top_k).indices
    else:
        best = router.selection.select(logits, router.top_k, router.selection_bias).selected_experts
    best, counts = best.sort(dim=-1).values, decided(router, tokens)
    assert torch.equal(best[counts], selected[counts])


def test_is_deterministic(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name), random_tokens(65, D)
    assert torch.equal(router(tokens).router_probs, router(tokens).router_probs)


def test_a_token_has_the_same_answer_in_any_batch(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name, spread=0.3), random_tokens(40, D)
    if not router.deterministic_per_token:
        pytest.skip(f"{router_name} declares that a token's answer depends on its batch")
    probs = router(tokens).router_probs
    alone = torch.cat([router(token.unsqueeze(0)).router_probs for token in tokens])
    torch.testing.assert_close(alone, probs, atol=1e-5, rtol=1e-5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(router(tokens[order]).router_probs, probs[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        pytest.param((5, D + 1), rf"\(5, {D + 1}\)", id="wrong_width"),
        pytest.param((D,), rf"\({D},\)", id="no_token_axis"),
        pytest.param((1, 1, 1, D), rf"\(1, 1, 1, {D}\)", id="four_axes"),
    ],
)
def test_refuses_a_wrong_shape_and_names_it(router_name, shape, named, make_router):
    with pytest.raises(ValueError, match=named):
        make_router(router_name)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        pytest.param({"top_k": 9}, "top_k is 9, expected at most num_experts = 8", id="K_above_E"),
        pytest.param({"top_k": 0}, "top_k is 0", id="K_of_zero"),
        pytest.param({"num_experts": 0, "top_k": 1}, "num_experts is 0", id="no_expert"),
        pytest.param({"hidden_size": 0}, "hidden_size is 0", id="no_feature"),
        pytest.param({"hidden_size": -3}, "hidden_size is -3", id="negative"),
    ],
)
def test_refuses_impossible_sizes_and_names_them(router_name, sizes, named, make_router):
    with pytest.raises(ValueError, match=named):
        make_router(router_name, **sizes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_refuses_a_non_finite_token_when_asked(router_name, value, make_router, random_tokens):
    tokens = random_tokens(5, D)
    router = make_router(router_name, check_finite=True)
    router(tokens)
    tokens[2:4, 7] = value
    with pytest.raises(ValueError, match="NaN or infinity in 2 of 5 tokens, first 2"):
        router(tokens)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        pytest.param(torch.float32, 1e18, id="float32_holds_its_square"),
        pytest.param(torch.float32, 1e20, id="float32_does_not_hold_its_square"),
        pytest.param(torch.float32, 1e30, id="float32"),
        pytest.param(torch.float32, 3e38, id="the_largest_float32"),
        pytest.param(torch.bfloat16, 1e30, id="bfloat16"),
        pytest.param(torch.float16, 300.0, id="float16_does_not_hold_its_square"),
        pytest.param(torch.float16, 6e4, id="float16"),
    ],
)
@pytest.mark.parametrize("hidden_size", [64, 768])
def test_an_overflow_is_refused_when_asked_and_never_silently_off(
    router_name, dtype, size, hidden_size, make_router, random_tokens
):
    router = make_router(router_name, hidden_size=hidden_size, check_finite=True).to(dtype)
    tokens = random_tokens(5, hidden_size)
    large = tokens[3] / tokens[3].abs().max() * size
    tokens = tokens.index_copy(0, torch.tensor([3]), large[None]).to(dtype)
    assert tokens.isfinite().all()
    exact = rules_probabilities(copy.deepcopy(router).double(), tokens.double())
    refused = pytest.raises(ValueError, match="not finite in 1 of 5 tokens, first 3")
    with refused if size in (1e20, 1e30, 3e38) else contextlib.suppress(ValueError):
        probs = router(tokens).router_probs
        # Half precision rounds hadamard's logits, sums of 768 values of up to 300, to about one part in 2048.
        torch.testing.assert_close(probs.double(), exact, atol=1e-5 if dtype == torch.float32 else 0.03, rtol=0)


def test_what_its_own_dtype_cannot_hold_is_refused_when_asked(router_name, make_router, random_tokens):
    tokens = random_tokens(5, D, dtype=torch.float64)
    tokens[2] *= 1e300
    with pytest.raises(ValueError, match="not finite in 1 of 5 tokens, first 2"):
        make_router(router_name, check_finite=True)(tokens)


def test_does_not_look_for_non_finite_values_unasked(router_name, make_router, random_tokens, monkeypatch):
    def fail(_):
        raise AssertionError("the input was read once more")

    monkeypatch.setattr(routers.base, "refuse_non_finite", fail)
    make_router(router_name)(random_tokens(5, D))


def test_a_token_with_a_nan_leaves_the_others_alone(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name, spread=0.3), random_tokens(9, D)
    others = torch.arange(9) != 4
    expected = router(tokens).router_probs[others]
    tokens[4, 0] = float("nan")
    torch.testing.assert_close(router(tokens).router_probs[others], expected)


@pytest.mark.parametrize("norm_topk_prob", [True, False])
def test_equals_the_float64_reference(router_name, norm_topk_prob, make_router, random_tokens):
    router = make_router(router_name, spread=0.3, top_k=3, norm_topk_prob=norm_topk_prob)
    check_router(router, random_tokens(40, D))


@given(rule=st.sampled_from(list_selection_rules()), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_with_any_selection_rule_it_equals_the_float64_reference(router_name, rule, seed, make_router, random_tokens):
    router = with_rule(make_router, router_name, rule, seed)
    tokens = random_tokens(12, D, seed=seed)
    check_router(router, tokens)
    routing = router(tokens)
    assert routing.routing_weights.dtype == routing.router_probs.dtype == torch.float32
    torch.testing.assert_close(routing.router_probs.sum(dim=1), torch.ones(12))
    with torch.autocast("cpu", torch.bfloat16):
        again = router(tokens)
    assert torch.equal(again.selected_experts, routing.selected_experts)
    assert torch.equal(again.routing_weights, routing.routing_weights)


@given(rule=st.sampled_from(list_selection_rules()))
@settings(max_examples=6)
def test_with_any_selection_rule_the_gradient_reaches_every_parameter(router_name, rule, make_router, random_tokens):
    router = with_rule(make_router, router_name, rule, 0)
    weights = router(random_tokens(40, D)).routing_weights
    if list(router.parameters()):
        (weights * random_tokens(*weights.shape, seed=1)).sum().backward()
    assert [name for name, p in router.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_the_softmax_of_its_logits_are_its_probabilities(router_name, make_router, random_tokens):
    router = make_router(router_name, spread=0.3)
    routing, rule = router(random_tokens(21, D)), router.selection
    of_logits = torch.softmax(routing.router_logits, dim=-1)
    if not rule.is_softmax_top_k and routing.logits is not None:
        of_logits = rule.probabilities(rule.score(routing.logits))
    torch.testing.assert_close(of_logits, routing.router_probs)


def test_weights_sum_to_one_or_are_the_probabilities(router_name, make_router, random_tokens):
    tokens = random_tokens(21, D)
    router = make_router(router_name, spread=0.3, norm_topk_prob=True)
    normed = token_choice(router(tokens))
    torch.testing.assert_close(normed.routing_weights.sum(dim=-1), torch.full((21,), router.selection.scale))
    raw = make_router(router_name, spread=0.3, norm_topk_prob=False)(tokens)
    if not router.selection.is_softmax_top_k:
        scores = raw.router_scores.gather(1, raw.selected_experts)
        torch.testing.assert_close(raw.routing_weights, router.selection.scale * scores)
        return
    selected_probs = raw.router_probs.gather(1, raw.selected_experts)
    torch.testing.assert_close(raw.routing_weights, selected_probs)
    assert torch.equal(normed.selected_experts, raw.selected_experts)
    best = raw.router_probs.topk(raw.selected_experts.shape[1]).values
    torch.testing.assert_close(selected_probs, best)


def test_the_gradient_of_the_weights_reaches_every_parameter(router_name, make_router, random_tokens):
    router = make_router(router_name, spread=0.3)
    if not list(router.parameters()):
        pytest.skip(f"{router_name} has no parameters")
    weights = token_choice(router(random_tokens(40, D))).routing_weights
    (weights * random_tokens(40, router.top_k, seed=1)).sum().backward()
    without = [name for name, p in router.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


def test_survives_saving_copying_and_pickling(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name, spread=0.3), random_tokens(21, D)
    expected = router(tokens).router_probs
    restored = make_router(router_name, seed=5)
    restored.load_state_dict(router.state_dict())
    for twin in (restored, copy.deepcopy(router), pickle.loads(pickle.dumps(router))):
        assert torch.equal(twin(tokens).router_probs, expected)


def test_the_same_seed_makes_the_same_router(router_name, make_router):
    first, second = make_router(router_name, seed=3), make_router(router_name, seed=3)
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_takes_token_ids_and_refuses_a_keyword_that_it_does_not_know(
    router_name, make_router, random_tokens, assert_simplex
):
    router, tokens = make_router(router_name), random_tokens(21, D)
    assert_simplex(router(tokens, token_ids=torch.arange(21)).router_probs)
    with pytest.raises(TypeError, match="attention_mask"):
        router(tokens, attention_mask=torch.ones(21))


def test_a_state_of_another_k_is_refused_and_names_both(router_name, make_router):
    router, other = make_router(router_name, top_k=2), make_router(router_name, top_k=3)
    if router.top_k == other.top_k:
        pytest.skip(f"{router_name} selects {router.top_k} experts whatever top_k")
    state = pickle.loads(pickle.dumps(router.state_dict()))
    with pytest.raises(RuntimeError, match="top_k is 3, its state was saved with 2"):
        other.load_state_dict(state)
    make_router(router_name, top_k=2, seed=1).load_state_dict(state)
    other.load_state_dict(dict(state))  # of safetensors, which do not say it


def test_one_expert_of_weight_one_has_no_gradient_and_says_so(router_name, make_router, random_tokens):
    router = make_router(router_name, spread=0.3, top_k=1)
    sums_to_one = router.selection.weights_sum_to_one or router.weights_sum_to_one
    if router.top_k != 1 or not list(router.parameters()) or not sums_to_one:
        pytest.skip(f"{router_name} has no weight to learn, or one that is not 1, or selects more than one expert")
    token_choice(router(random_tokens(2, D)))
    with pytest.warns(UserWarning, match="with top_k = 1 and weights that sum to one"):
        routing = router(random_tokens(21, D))
    token_choice(routing).routing_weights.square().sum().backward()
    # Of a rule that adds something to the sum, or divides a score by itself, rounding is left.
    most = 0 if router.selection.is_softmax_top_k else 1e-5
    assert all(p.grad is None or float(p.grad.abs().max()) <= most for p in router.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            router(random_tokens(21, D))
        make_router(router_name, top_k=2)(random_tokens(21, D))
        if not router.weights_sum_to_one:
            raw = make_router(router_name, spread=0.3, top_k=1, norm_topk_prob=False)
            raw(random_tokens(21, D)).routing_weights.sum().backward()
            assert any(parameter.grad.any() for parameter in raw.parameters())


def test_a_router_is_built_under_the_meta_device_and_its_fixed_buffers_stay_real(router_name: str) -> None:
    with torch.device("meta"):
        router = routers.create_router(router_name, hidden_size=192, num_experts=8, top_k=2)
    assert all(parameter.is_meta for parameter in router.parameters())
    saved = router.state_dict()  # a rule's bias, say, comes with it, as parameters do
    assert not any(buffer.is_meta for name, buffer in router.named_buffers() if name not in saved)


def test_in_training_mode_it_is_random_by_a_seed_or_not_at_all(router_name, make_router, random_tokens):
    router, tokens = make_router(router_name, spread=0.3), random_tokens(40, D)

    def probabilities(seed):
        torch.manual_seed(seed)
        return router(tokens).router_probs

    expected = router.eval()(tokens).router_probs
    assert torch.equal(router(tokens).router_probs, expected)
    router.train()
    if not router.random_in_training:
        assert torch.equal(probabilities(1), expected)
        return
    assert torch.equal(probabilities(1), probabilities(1))
    assert not torch.equal(probabilities(1), probabilities(2))
    for seed in (0, 1):
        check_router(router, tokens, seed=seed)
