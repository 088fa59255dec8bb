"""MLP-Hadamard router, equations (6) to (8). Axes: T tokens, D hidden size, E experts, M width."""

import pytest
import torch

import routers

H4 = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


def mlp_hadamard_logits(plain, parameters, projection, token):
    normed = plain.layer_norm(token, parameters["norm.weight"], parameters["norm.bias"])
    hidden = plain.gelu(plain.matvec(parameters["hidden_proj.weight"], normed, parameters["hidden_proj.bias"]))
    features = [h * x for h, x in zip(hidden, plain.matvec(projection, normed), strict=True)]
    return plain.matvec(parameters["logit_proj.weight"], features, parameters["logit_proj.bias"])


@pytest.mark.parametrize(
    ("width", "projection"),
    [
        pytest.param(3, H4[1:], id="rows_of_H"),
        pytest.param(2, H4[1:3], id="fewer_rows"),
        pytest.param(4, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], id="identity_at_M=D"),
    ],
)
def test_equals_the_plain_formula(width, projection, make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("mlp_hadamard", hidden_size=4, num_experts=5, spread=0.5, width=width)
    parameters = parameters_of(router)
    assert_equals_formula(
        router, lambda token: plain.softmax(mlp_hadamard_logits(plain, parameters, projection, token))
    )


def test_boost_raises_the_two_largest_logits(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("mlp_hadamard", hidden_size=4, num_experts=5, spread=0.5, width=3, boost=(0.9, 0.6))
    parameters = parameters_of(router)

    def formula(token):
        logits = mlp_hadamard_logits(plain, parameters, H4[1:], token)
        second = sorted(logits)[-2]
        return plain.softmax([0.9 * v + (0.6 if v >= second else 0) for v in logits])

    assert_equals_formula(router, formula)


def test_boost_takes_a_single_expert(make_router, random_tokens):
    probs = make_router("mlp_hadamard", num_experts=1, top_k=1, boost=(0.9, 0.6))(random_tokens(3, 32)).router_probs
    assert torch.equal(probs, torch.ones(3, 1))


@pytest.mark.parametrize("hidden_size", [768, 384, 64, 576])
def test_the_projection_is_orthogonal_and_not_normalised(hidden_size, make_router):
    width = min(128, hidden_size - 1)  # at M = D it is the identity
    projection = make_router("mlp_hadamard", hidden_size=hidden_size, width=width).projection
    assert torch.equal(projection @ projection.T, hidden_size * torch.eye(width))
    assert torch.equal(projection.abs(), torch.ones(width, hidden_size))
    assert not projection.sum(dim=1).any()  # row 0, all ones, is left out


@pytest.mark.parametrize("hidden_size", [128, 64, 33])
def test_the_projection_is_the_identity_up_to_the_width(hidden_size, make_router):
    router = make_router("mlp_hadamard", hidden_size=hidden_size, width=128)
    assert torch.equal(router.projection, torch.eye(hidden_size))
    assert router.hidden_proj.out_features == hidden_size


def test_warns_where_no_orthogonal_projection_is_known():
    with pytest.warns(UserWarning, match="no Hadamard matrix of order 33"):
        routers.create_router("mlp_hadamard", hidden_size=33, num_experts=8, top_k=2, width=16)


def test_the_projection_is_neither_saved_nor_learned(make_router):
    router = make_router("mlp_hadamard", width=16)
    assert "projection" not in router.state_dict()
    assert "projection" not in dict(router.named_parameters())


def test_has_the_papers_parameter_count(parameter_count):
    assert parameter_count("mlp_hadamard") == 101000  # the MLP's: 2 · 768, 768 · 128 + 128, 128 · 8 + 8


def test_selects_two_experts_unless_told_otherwise():
    sizes = {"hidden_size": 64, "num_experts": 8}
    assert routers.get_router_class("mlp_hadamard")(**sizes).top_k == 2
    assert routers.get_router_class("mlp_hadamard")(**sizes, top_k=3).top_k == 3


def test_refuses_a_width_of_zero(make_router):
    with pytest.raises(ValueError, match="width is 0"):
        make_router("mlp_hadamard", width=0)


@pytest.mark.parametrize("seed", range(3))
def test_has_the_simulated_statistics(seed, paper_statistics):
    # SPEC, section 5: about 1.20 ± .02 and .382 ± .003 over seeds, "only approximate" against the paper
    entropy, top_2 = paper_statistics("mlp_hadamard", seed)
    assert entropy == pytest.approx(1.20, abs=4 * 0.02)
    assert top_2 == pytest.approx(0.382, abs=4 * 0.003)


@pytest.mark.parametrize("seed", range(3))
def test_the_boost_meets_the_papers_printed_pair(seed, paper_statistics):
    # paper: 1.1003 and 0.4152; the tolerances are those of the routers without a boost
    entropy, top_2 = paper_statistics("mlp_hadamard", seed, boost=(0.92, 0.59))
    assert entropy == pytest.approx(1.1003, abs=0.02)
    assert top_2 == pytest.approx(0.4152, abs=0.003)
