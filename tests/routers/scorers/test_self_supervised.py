"""Self-supervised router, equations (20) to (22). Axes: T tokens, D hidden size, E experts, N pairs."""

import math

import pytest
import torch

from routers.metrics import expert_load, flip_rate, load_entropy
from routers.scorers.self_supervised import augment, info_nce_loss, pretrain

SIZES = {"hidden_size": 32, "width": 32, "feature_size": 16}


def clustered_tokens(seed):
    """256 tokens around 8 centres, a third of the centres' spread."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 32, generator=generator)
    return centres.repeat(32, 1) + 0.3 * torch.randn(256, 32, generator=generator)


@torch.no_grad()
def agreement(router, tokens, seed):
    """Share of the experts that two augmented views of a token have in common, over four pairs of views."""
    generator = torch.Generator().manual_seed(100 + seed)
    views = [router(augment(tokens, generator=generator)).selected_experts for _ in range(8)]
    return 1 - sum(float(flip_rate(a, b)) for a, b in zip(views[::2], views[1::2], strict=True)) / 4


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_equals_the_plain_formula(top_k, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router(
        "self_supervised", hidden_size=13, num_experts=5, top_k=top_k, spread=0.5, width=7, feature_size=4
    )
    p = parameters_of(router)

    def formula(token):
        normed = plain.layer_norm(token, p["features.0.weight"], p["features.0.bias"])
        hidden = plain.gelu(plain.matvec(p["features.1.weight"], normed, p["features.1.bias"]))
        features = plain.matvec(p["features.3.weight"], hidden, p["features.3.bias"])
        probs = plain.softmax(plain.matvec(p["logit_proj.weight"], features, p["logit_proj.bias"]))
        kept = sorted(probs)[-top_k:]
        return [value / sum(kept) if value in kept else 0.0 for value in probs]

    assert_equals_formula(router, formula)


@pytest.mark.parametrize("top_k", [1, 2, 8])
def test_exactly_k_probabilities_are_not_zero(top_k, make_router, random_tokens):
    probs = make_router("self_supervised", top_k=top_k)(random_tokens(50, 32)).router_probs
    assert torch.equal(probs.count_nonzero(dim=1), torch.full((50,), top_k))


def test_parameter_count_is_the_one_that_is_stated(parameter_count):
    # 2·D + D·M + M + M·F + F + F·E + E with D = 768, M = 128, F = 64, E = 8
    assert parameter_count("self_supervised") == 2 * 768 + 768 * 128 + 128 + 128 * 64 + 64 + 64 * 8 + 8


@pytest.mark.parametrize("options", [{"width": 0}, {"feature_size": 0}])
def test_refuses_sizes_of_zero(options, make_router):
    with pytest.raises(ValueError, match=rf"{next(iter(options))} \S*\s?0|is 0"):
        make_router("self_supervised", **options)


@pytest.mark.parametrize(
    ("features", "positives", "expected"),
    [
        # cosines 1 and 0, over τ = 0.5: 2 and 0; −ln(e² / (e² + e⁰)) = ln(1 + e⁻²), for both
        pytest.param([[1, 0], [0, 1]], [[3, 0], [0, 5]], math.log(1 + math.exp(-2)), id="both_right"),
        # the other way round: ln(1 + e²)
        pytest.param([[1, 0], [0, 1]], [[0, 3], [5, 0]], math.log(1 + math.exp(2)), id="both_wrong"),
        # alike positives cannot be told apart: ln 3
        pytest.param([[1, 0], [0, 1], [1, 1]], [[1, 0], [2, 0], [3, 0]], math.log(3), id="three_alike"),
        # row 1: cosines 1, 0, −1 -> 2, 0, −2; row 2: 0, 1, 0 -> 0, 2, 0; row 3: −1, 0, 1, as row 1
        pytest.param(
            [[1, 0], [0, 1], [-1, 0]],
            [[1, 0], [0, 1], [-1, 0]],
            (2 * math.log(1 + math.exp(-2) + math.exp(-4)) + math.log(1 + 2 * math.exp(-2))) / 3,
            id="three_pairs",
        ),
        pytest.param([[2, 1]], [[0, 1]], 0.0, id="no_negative"),
    ],
)
def test_info_nce_by_hand(features, positives, expected):
    loss = info_nce_loss(torch.tensor(features).double(), torch.tensor(positives).double(), temperature=0.5)
    assert float(loss) == pytest.approx(expected, abs=1e-12)


def test_augment_drops_features_and_adds_noise_in_proportion():
    tokens = torch.tensor([[1.0, 10.0], [3.0, 30.0]]).repeat(500, 1)
    generator = torch.Generator().manual_seed(0)
    dropped = augment(tokens, noise=0.0, dropout=0.25, generator=generator)
    assert torch.equal(dropped[dropped != 0], tokens[dropped != 0])
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.05)
    # spreads of the two features are 1 and 10, half of it is added
    noisy = augment(tokens, noise=0.5, dropout=0.0, generator=generator)
    assert (noisy - tokens).std(dim=0).tolist() == pytest.approx([0.5, 5.0], rel=0.1)
    assert torch.equal(augment(tokens, noise=0.0, dropout=0.0), tokens)


def test_pretraining_makes_the_two_views_agree(make_router):
    # On each of 5 seeds, from 0.58 to 0.73 in the mean; chance is K/E = 0.25. Not by collapse, on which any two agree:
    # the load's entropy stays near ln 8 = 2.08
    for seed in range(5):
        tokens, router = clustered_tokens(seed), make_router("self_supervised", seed=seed, **SIZES)
        before = agreement(router, tokens, seed)
        losses = pretrain(router, tokens, steps=30, batch_size=64, seed=seed)
        assert sum(losses[-5:]) < 0.95 * sum(losses[:5]), f"seed {seed}"
        assert agreement(router, tokens, seed) > before + 0.05, f"seed {seed}"
        assert float(load_entropy(expert_load(router(tokens).selected_experts, 8))) > 1.8, f"seed {seed}"


def test_pretraining_repeats_itself_and_leaves_the_head_alone(make_router):
    def trained(seed):
        router = make_router("self_supervised", **SIZES)
        return router, pretrain(router, clustered_tokens(0), steps=4, batch_size=32, seed=seed)

    (router, losses), (twin, same), (_, others) = trained(0), trained(0), trained(1)
    assert losses == same != others
    assert len(losses) == 4
    untrained = make_router("self_supervised", **SIZES).state_dict()
    moved = {name for name, value in router.state_dict().items() if not torch.equal(value, untrained[name])}
    assert moved == {name for name in untrained if name.startswith("features.")}
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in router.state_dict().items())


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_pretraining_refuses_fewer_than_two_tokens(num_tokens, make_router):
    with pytest.raises(ValueError, match=f"at least 2 tokens, got {num_tokens}"):
        pretrain(make_router("self_supervised"), torch.zeros(num_tokens, 32))


def test_joint_training_reaches_the_features(make_router, random_tokens):
    router, tokens = make_router("self_supervised"), random_tokens(16, 32)
    info_nce_loss(router.extract(tokens), router.extract(tokens + 0.1)).backward()
    assert all(bool(parameter.grad.any()) for parameter in router.features.parameters())
