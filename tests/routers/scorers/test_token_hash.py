"""Router by token id with learned weights. Axes: T tokens, D hidden size, E experts, K experts per token, V ids."""

import math

import pytest
import torch

from routers.metrics import max_violation


def test_without_ids_it_equals_the_plain_formula(make_router, plain, parameters_of, assert_equals_formula):
    router = make_router("token_hash", hidden_size=13, num_experts=5, spread=0.5)
    weight = parameters_of(router)["weight"]
    assert_equals_formula(router, lambda token: plain.softmax(plain.matvec(weight, token)))


def test_with_ids_it_weighs_the_tables_experts_as_deepseek_v4_does(make_router, plain, parameters_of, random_tokens):
    table = torch.tensor([[0, 3], [4, 1], [2, 0]])
    router = make_router(
        "token_hash", hidden_size=13, num_experts=5, spread=0.5, table=table, selection="deepseek_v4", scale=1.5
    )
    tokens, ids = random_tokens(4, 13), torch.tensor([2, 0, 1, 2])
    routing = router(tokens.view(2, 2, 13), token_ids=ids.view(2, 2))
    weight = parameters_of(router)["weight"]
    for t in range(4):
        logits = plain.matvec(weight, tokens[t].double().tolist())
        scores = {e: math.sqrt(math.log1p(math.exp(logits[e]))) for e in table[ids[t]].tolist()}
        found = dict(zip(routing.selected_experts[t].tolist(), routing.routing_weights[t].tolist(), strict=True))
        expected = {e: 1.5 * score / sum(scores.values()) for e, score in scores.items()}
        assert found == pytest.approx(expected, abs=1e-5)


def test_its_table_is_even_and_of_its_seed(make_router, random_tokens):
    router, other = (make_router("token_hash", seed=0, vocab_size=2000) for _ in range(2))
    assert torch.equal(router.expert_of_id, other.expert_of_id)
    assert max_violation(torch.bincount(router.expert_of_id.flatten())) < 0.2
    assert router(random_tokens(3, 32), token_ids=torch.tensor([5, 5, 7])).selected_experts.shape == (3, 2)


def test_has_one_matrix(parameter_count):
    assert parameter_count("token_hash") == 6144


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ([[0]], r"table has shape \(1, 1\), expected \(ids, top_k = 2\)"),
        ([[0, 8]], "table holds 0 to 8, expected 0 to 7"),
        ([[0, 1], [3, 3]], "table has an expert twice in a row"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table, named, make_router):
    with pytest.raises(ValueError, match=named):
        make_router("token_hash", table=torch.tensor(table))


def test_ids_of_other_tokens_or_with_groups_are_refused(make_router, random_tokens):
    with pytest.raises(ValueError, match="token_ids hold 2 ids, expected one for each of the 3 tokens"):
        make_router("token_hash")(random_tokens(3, 32), token_ids=torch.tensor([1, 2]))
    router = make_router("token_hash", selection="deepseek_v3", num_groups=4, groups_kept=2)
    with pytest.raises(ValueError, match="expected a rule without groups"):
        router(random_tokens(3, 32), token_ids=torch.tensor([1, 2, 3]))


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        (torch.tensor([0, 9, 1, 1]), "token_ids hold 9, expected 0 to 3"),
        (torch.tensor([0, -1, 1, 1]), "token_ids hold -1, expected 0 to 3"),
        (torch.zeros(4), "token_ids are torch.float32, expected whole numbers"),
        (torch.zeros(4, 1, dtype=torch.int64), r"token_ids have shape \(4, 1\), expected \(2, 2\) or \(4,\)"),
    ],
)
@pytest.mark.parametrize("name", ["token_hash", "hash"])
def test_ids_that_cannot_be_are_refused(name, ids, named, make_router, random_tokens):
    options = {"vocab_size": 4} if name == "token_hash" else {"token_counts": torch.ones(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=named):
        make_router(name, **options)(random_tokens(4, 32).view(2, 2, 32), token_ids=ids)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"vocab_size": 0}, "vocab_size is 0, expected at least 1"),
        ({"table": [[0, 1]]}, "table is list, expected a tensor of whole numbers"),
        ({"table": torch.rand(3, 2)}, "table is torch.float32, expected a tensor of whole numbers"),
    ],
)
def test_options_that_make_no_table_are_refused(options, named, make_router):
    with pytest.raises(ValueError, match=named):
        make_router("token_hash", **options)
