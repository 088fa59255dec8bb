"""What is measured of a trace is what `routers.metrics` measures, and does not hang on order or names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.traces import RoutingTrace, analyse, tokens
from reports.traces.measuring import counting
from reports.traces.measuring.measures import LOAD_MEASURES
from routers import metrics
from tests.reports.traces.conftest import EXPERTS, LAYERS, TOKENS, TOP_K, make_selections

OURS = {
    "load_entropy": metrics.load_entropy,
    "max_violation": metrics.max_violation,
    "cv": metrics.coefficient_of_variation,
    "gini": metrics.gini,
    "dead_experts": metrics.dead_experts,
    "max_over_min": lambda load: load.max() / load.min(),
    "drop_rate": lambda load: metrics.drop_rate(load, metrics.CAPACITY_FACTOR),
}
OF_PROBABILITIES = {
    "token_entropy": lambda probs, k: metrics.token_entropy(probs),
    "mean_top_k_prob": metrics.mean_top_k_prob,
    "mean_top_2_prob": lambda probs, k: metrics.mean_top_2_prob(probs),
    "score_std": lambda probs, k: metrics.score_std(probs),
    "specialisation": lambda probs, k: metrics.specialisation(probs),
    "margin": metrics.margin,
}


@st.composite
def cases(draw):
    """A trace of few tokens, some of which may not count, and its mask."""
    experts = draw(st.sampled_from([2, 4, 8, 12]))
    size = (draw(st.integers(1, 30)), draw(st.integers(1, 3)), draw(st.integers(1, experts)))
    found = make_selections(*size, experts, seed=draw(st.integers(0, 1000)))
    mask = np.random.default_rng(draw(st.integers(0, 9))).random(size[0]) < 0.8
    mask[0] = True
    return found, experts, mask


@given(cases())
@settings(max_examples=25, deadline=None)
def test_the_metrics_are_those_of_routers(case):
    experts, number, mask = case
    found = analyse(RoutingTrace(experts, number, mask=mask))
    assert set(OURS) == {each.name for each in LOAD_MEASURES}
    for layer in range(experts.shape[1]):
        selected = torch.tensor(experts[mask, layer])
        load = metrics.tokens_per_expert(selected, number)
        assert found.load[layer].tolist() == load.tolist()
        for name, measure in OURS.items():
            np.testing.assert_allclose(found.measures[name][layer], float(measure(load)), atol=1e-12, err_msg=name)
        for ranks, values in found.rank_imbalance.items():
            np.testing.assert_allclose(values[layer], float(metrics.rank_imbalance(load, ranks)))
        if found.co_activation is not None:
            np.testing.assert_allclose(found.co_activation[layer], metrics.co_activation(selected, number).numpy())


@given(cases(), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_agreement_is_the_flip_rate_of_routers(case, seed):
    experts, number, mask = case
    other = make_selections(*experts.shape, number, seed=seed)
    found = analyse(RoutingTrace(experts, number, mask=mask), against=RoutingTrace(other, number)).agreement
    sets = np.array(
        [[set(a) != set(b) for a, b in zip(x, y, strict=True)] for x, y in zip(experts, other, strict=True)]
    )
    for layer in range(experts.shape[1]):
        a, b = (torch.tensor(each[mask, layer]) for each in (experts, other))
        np.testing.assert_allclose(found.flip_rate[layer], float(metrics.flip_rate(a, b)), atol=1e-12)
    np.testing.assert_allclose(found.differs, sets[mask].mean(axis=0))
    np.testing.assert_allclose(found.anywhere, sets[mask].any(axis=1).mean())
    np.testing.assert_allclose(found.moved + found.lost + (experts == other)[mask].mean(axis=0), 1)


@pytest.mark.parametrize("selection", ["softmax", "sigmoid"])
def test_probabilities_are_measured_as_in_routers(selection):
    logits = np.random.default_rng(0).normal(size=(TOKENS, LAYERS, EXPERTS)).astype(np.float32)
    experts = np.argsort(-logits, axis=-1)[..., :TOP_K]
    found = analyse(RoutingTrace(experts, logits=logits, selection=selection)).probabilities
    for layer in range(LAYERS):
        scores = torch.tensor(logits[:, layer])
        probs = scores.softmax(-1) if selection == "softmax" else scores.sigmoid() / scores.sigmoid().sum(-1, True)
        for name, measure in OF_PROBABILITIES.items():
            np.testing.assert_allclose(found[name][layer], float(measure(probs, TOP_K)), rtol=1e-5, err_msg=name)


def test_where_all_experts_are_selected_there_is_no_margin(selections):
    logits = np.zeros((TOKENS, LAYERS, TOP_K), dtype=np.float32)
    found = analyse(RoutingTrace(selections % 1 + np.arange(TOP_K), logits=logits))
    assert np.isnan(found.probabilities["margin"]).all()


def test_the_order_of_tokens_changes_nothing(selections):
    order = np.random.default_rng(1).permutation(TOKENS)
    domains = np.where(np.arange(TOKENS) % 3, "a", "b")
    one = analyse(RoutingTrace(selections, EXPERTS, domains=domains))
    other = analyse(RoutingTrace(selections[order], EXPERTS, domains=domains[order]))
    assert np.array_equal(one.load, other.load)
    assert np.array_equal(one.pairs, other.pairs)
    assert np.array_equal(one.domains.information, other.domains.information)
    assert one.agreement is other.agreement is None


def test_other_names_of_experts_permute_what_is_said_of_them(selections):
    names = np.random.default_rng(2).permutation(EXPERTS)
    one, other = (analyse(RoutingTrace(each, EXPERTS)) for each in (selections, names[selections]))
    assert np.array_equal(one.load, other.load[:, names])
    assert np.array_equal(one.pairs, other.pairs[:, names][:, :, names])
    for name in one.measures:
        np.testing.assert_allclose(one.measures[name], other.measures[name])
    np.testing.assert_allclose(one.drift.from_first, other.drift.from_first)


def test_parts_are_one_trace(selections, monkeypatch):
    whole = analyse(RoutingTrace(selections, EXPERTS))
    monkeypatch.setattr(tokens, "SLOTS", 7 * LAYERS * TOP_K)  # pieces of seven tokens
    parts = [RoutingTrace(selections[:11], EXPERTS), RoutingTrace(selections[11:], None)]
    for trace in (parts, RoutingTrace(selections, EXPERTS)):
        found = analyse(trace, against=RoutingTrace(selections[:, :, ::-1]))
        assert np.array_equal(found.load, whole.load)
        assert np.array_equal(found.pairs, whole.pairs)
        assert np.array_equal(found.drift.from_first, whole.drift.from_first)
        assert found.agreement.anywhere == 0
        assert (found.agreement.moved == 1).all()


def test_of_a_long_trace_pairs_are_counted_of_evenly_spread_tokens(selections, monkeypatch):
    monkeypatch.setattr(counting, "MOST_PAIRS", TOKENS * LAYERS // 4)
    found = analyse(RoutingTrace(selections, EXPERTS))
    expected = analyse(RoutingTrace(selections[::4], EXPERTS))
    assert found.pair_tokens == TOKENS // 4
    assert np.array_equal(found.pairs, expected.pairs)
    assert np.array_equal(found.co_activation, expected.co_activation)


def test_independent_pairs_are_as_many_and_in_proportion():
    # Loads 4, 2, 2: products 8, 8, 4 of pairs 01, 02, 12, both ways round 40; 2 · 5 pairs of both ways, a quarter each.
    experts = np.array([[0, 1], [0, 2], [0, 1], [0, 2]])[:, None]
    found = analyse(RoutingTrace(experts, 3))
    assert found.pairs[0].tolist() == [[0, 2, 2], [2, 0, 0], [2, 0, 0]]
    np.testing.assert_allclose(found.independent[0], np.array([[0, 8, 8], [8, 0, 4], [8, 4, 0]]) / 5)


def test_domains_by_hand():
    # Domain a has expert 0 alone, b has expert 1 alone: an expert says all, ln 2.
    experts = np.array([0, 0, 1, 1])[:, None, None]
    found = analyse(RoutingTrace(experts, 2, domains=np.array(["a", "a", "b", "b"]))).domains
    np.testing.assert_allclose(found.information, np.log(2))
    assert found.names == ("a", "b")
    assert found.load[:, 0].tolist() == [[2, 0], [0, 2]]


def test_what_chance_gives_is_what_it_gives():
    """Of tokens that have no domain and do not drift, the two measures are what is expected of chance."""
    experts = make_selections(20_000, 2, 2, 16, seed=3)
    labels = np.random.default_rng(4).integers(0, 4, len(experts)).astype(str)
    found = analyse(RoutingTrace(experts, 16, domains=labels))
    np.testing.assert_allclose(
        found.drift.from_first[1:].mean(axis=0), found.drift.by_chance[1:].mean(axis=0), rtol=0.2
    )
    np.testing.assert_allclose(found.domains.information, found.domains.by_chance, rtol=0.6)


def test_windows_are_of_steps_where_there_are_some(selections):
    steps = np.repeat([30, 10, 20, 40], TOKENS // 4)
    found = analyse(RoutingTrace(selections, EXPERTS, steps=steps), windows=2).drift
    assert found.by_steps
    assert found.labels == (10, 30)
    assert found.tokens.tolist() == [TOKENS // 2, TOKENS // 2]
    early, late = (
        np.bincount(selections[np.isin(steps, of), 0].ravel(), minlength=EXPERTS) for of in ([10, 20], [30, 40])
    )
    expected = np.abs(early / early.sum() - late / late.sum()).sum() / 2
    np.testing.assert_allclose(found.from_first[1, 0], expected)


def test_empty_slots_have_no_expert(selections):
    experts = selections.copy()
    experts[::2, :, 1] = -1
    found = analyse(RoutingTrace(experts, EXPERTS, empty_slots=True))
    assert (found.load.sum(axis=-1) == TOKENS * TOP_K - TOKENS // 2).all()
    np.testing.assert_allclose(found.experts_per_token, [[1.5] * LAYERS, [0.5] * LAYERS])
    kept = torch.tensor(experts[:, 0] >= 0)
    pairs = metrics.co_activation(torch.tensor(selections[:, 0]), EXPERTS, kept)
    np.testing.assert_allclose(found.co_activation[0], pairs.numpy())
    against = analyse(RoutingTrace(experts, EXPERTS, empty_slots=True), against=RoutingTrace(selections, EXPERTS))
    assert against.agreement.differs.tolist() == [0.5] * LAYERS


def test_a_mask_leaves_tokens_out(selections):
    mask = np.arange(TOKENS) % 2 == 0
    trace = RoutingTrace(selections, EXPERTS, weights=np.ones(selections.shape), mask=mask)
    found = analyse(trace)
    assert (found.num_tokens, found.left_out) == (TOKENS // 2, TOKENS // 2)
    alone = analyse(replace(trace, experts=selections[mask], weights=np.ones((TOKENS // 2, LAYERS, TOP_K)), mask=None))
    assert np.array_equal(found.load, alone.load)
    assert np.array_equal(found.importance, found.load)
    assert np.array_equal(found.drift.from_first, alone.drift.from_first)
