"""What cannot be is refused in one line, and names are taken once. Axes: E experts, K experts per token."""

import math

import pytest
import torch

from routers import SelectionRule, create_router, get_selection_rule, list_selection_rules, register_selection_rule


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (
            {"score_function": "sigmoyd"},
            "score_function is 'sigmoyd', expected one of: softmax, sigmoid, sqrt_softplus",
        ),
        ({"ranked_by": "b"}, "ranked_by is 'b', expected one of: scores, scores_plus_bias, logits, logits_plus_bias"),
        ({"num_groups": 0}, "num_groups is 0, expected at least 1"),
        ({"groups_kept": 0}, "groups_kept is 0, expected at least 1"),
        ({"num_groups": 2, "groups_kept": 3}, "groups_kept is 3, expected at most num_groups = 2"),
        ({"soft_cap": 0.0}, "soft_cap is 0.0, expected a finite number above 0"),
        ({"how_many": "top_p", "limit": 0.0}, "limit is 0.0, expected a probability above 0 and at most 1"),
        ({"how_many": "top_p", "limit": -0.5}, "limit is -0.5, expected a probability"),
        ({"how_many": "top_p"}, "limit is None, expected a probability"),
        ({"how_many": "threshold", "limit": math.nan}, "limit is nan, expected a finite number"),
        ({"limit": 0.5}, "limit is 0.5, expected none with how_many = 'top_k'"),
        ({"epsilon": -1.0}, "epsilon is -1.0, expected a finite number of at least 0"),
        ({"scale": math.inf}, "scale is inf, expected a finite number"),
        ({"scale": "2"}, "scale is '2', expected a number"),
        ({"num_groups": 2.0}, "num_groups is 2.0, expected a whole number"),
        ({"num_groups": None}, "num_groups is None, expected a whole number"),
        ({"norm_topk_prob": "no"}, "norm_topk_prob is 'no', expected True or False"),
        ({"score_function": ["softmax"]}, r"score_function is \['softmax'\], expected the name of a step"),
    ],
)
def test_a_field_that_cannot_be_is_refused_in_one_line(fields, named):
    with pytest.raises(ValueError, match=named) as error:
        SelectionRule(**fields)
    assert "\n" not in str(error.value)


def test_sizes_that_the_groups_do_not_allow_are_refused():
    with pytest.raises(ValueError, match="num_groups is 3, expected a divisor of num_experts = 8"):
        create_router("linear", hidden_size=4, num_experts=8, top_k=2, num_groups=3)
    with pytest.raises(ValueError, match="top_k is 5, expected at most 4: 2 of 4 groups stay, of 2 experts each"):
        create_router("mlp", hidden_size=4, num_experts=8, top_k=5, num_groups=4, groups_kept=2)
    with pytest.raises(ValueError, match="top_k is 8, expected at most 4"):  # it selects all whatever top_k
        create_router("hadamard_unconstrained", hidden_size=16, num_experts=8, top_k=2, num_groups=4, groups_kept=2)


def test_a_bias_of_another_size_or_that_is_not_taken_is_refused():
    with pytest.raises(ValueError, match=r"bias has shape \(3,\), expected \(4,\), one for each expert"):
        get_selection_rule("minimax_m2").select(torch.zeros(2, 4), 1, bias=torch.zeros(3))
    with pytest.raises(ValueError, match="bias is given, expected none"):
        get_selection_rule("softmax").select(torch.zeros(2, 4), 1, bias=torch.zeros(4))
    with pytest.raises(ValueError, match=r"expert_scale has shape \(1, 4\), expected \(4,\)"):
        get_selection_rule("gemma4").select(torch.zeros(2, 4), 1, expert_scale=torch.ones(1, 4))


def test_an_unknown_rule_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown selection rule 'deepseek_v9'; there are: ") as error:
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection="deepseek_v9")
    assert str(error.value).endswith(", ".join(list_selection_rules()))
    with pytest.raises(TypeError, match="LinearRouter has no such option, and a selection rule has no field 'grups'"):
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, grups=2)


def test_the_hash_selects_by_itself():
    with pytest.raises(ValueError, match="expected none: HashRouter selects by itself"):
        create_router("hash", hidden_size=4, num_experts=4, top_k=1, selection="llama4")


def test_a_rule_is_registered_once_and_found_by_its_aliases():
    rule = get_selection_rule("glm4_moe", scale=3.0)
    assert register_selection_rule("mine", rule, aliases=("mine_too",)) is rule
    assert register_selection_rule("mine", rule) is rule
    assert get_selection_rule("mine_too") is rule
    assert {"mine"} == {"mine", "mine_too"} & set(list_selection_rules())
    for name in ("mine", "mine_too", "softmax", "mixtral"):
        with pytest.raises(ValueError, match=f"{name!r} is already registered, as SelectionRule"):
            register_selection_rule(name, SelectionRule(scale=7.0))
    with pytest.raises(ValueError, match="must consist of letters"):
        register_selection_rule("a b", rule)
    with pytest.raises(TypeError, match="is no SelectionRule"):
        register_selection_rule("other", {"scale": 1.0})
    with pytest.raises(TypeError, match="aliases of selection rule 'third' are 'xyz', expected a tuple of names"):
        register_selection_rule("third", rule, aliases="xyz")


@pytest.mark.parametrize("selection", [5, {"scale": 1.0}, SelectionRule])
def test_what_is_no_rule_is_refused(selection):
    with pytest.raises(ValueError, match=r"selection is .*, expected a SelectionRule or the name of one"):
        create_router("linear", hidden_size=4, num_experts=4, top_k=1, selection=selection)
