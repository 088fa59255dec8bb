"""Selections whose scores are made when they are read. Axes: T tokens, E experts, K experts per token."""

import pytest
import torch

from routers import get_selection_rule
from routers.selection.selection import UnreadSelection


def unread(logits, bias=None):
    """By a rule that ranks scores and a bias."""
    rule = get_selection_rule("glm4_moe")
    found = rule.select(logits, 2, bias)
    return UnreadSelection.of(rule, logits, bias, found.selected_experts, found.routing_weights), found


def test_rows_of_it_are_rows_of_all_that_it_makes(random_tokens):
    logits, rows = random_tokens(5, 8), torch.tensor([True, False, True, True, False])
    late, whole = unread(logits, torch.linspace(0, 1, 8))
    some = late.mapped(lambda tensor: tensor[rows])
    for each in ("scores", "ranked", "selected_experts", "routing_weights"):
        torch.testing.assert_close(getattr(some, each), getattr(whole, each)[rows])
    assert some.probabilities.shape == (3, 8)


def test_a_bias_that_was_changed_since_is_not_taken_for_the_one_that_ranked(random_tokens):
    bias = torch.zeros(8)
    late, whole = unread(random_tokens(5, 8), bias)
    torch.testing.assert_close(late.ranked, whole.ranked)
    bias[3] += 0.1
    torch.testing.assert_close(late.scores, whole.scores)
    for changed in (late, late.mapped(lambda tensor: tensor[:2])):
        with pytest.raises(RuntimeError, match="the bias of the ranking was changed after this selection"):
            _ = changed.ranked


def test_a_bias_of_inference_mode_has_no_version(random_tokens):
    with torch.inference_mode():
        late, whole = unread(random_tokens(5, 8), torch.zeros(8))
        torch.testing.assert_close(late.ranked, whole.ranked)
