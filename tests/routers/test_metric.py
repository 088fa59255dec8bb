"""The records of metrics."""

import dataclasses
import math

import pytest
import torch

from routers import Routing, TokenChoice, create_router
from routers.metric import METRICS, Observed, metric


@pytest.fixture
def observed():
    torch.manual_seed(0)
    with torch.no_grad():
        routing = create_router("linear", hidden_size=16, num_experts=4, top_k=2)(torch.randn(50, 16))
    return Observed(routing, torch.randn(50, 16))


def limit(bound, num_experts):
    """The number that an end of a range stands for."""
    words = {"ln E": torch.tensor(num_experts).log().item(), "E - 1": num_experts - 1, "1 - 1/E": 1 - 1 / num_experts}
    return words.get(bound, bound)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_one_number_within_its_range(name, observed):
    value = METRICS[name].measure(observed)
    assert value.shape == ()
    low, high = (limit(bound, 4) for bound in METRICS[name].bounds)
    assert low is None or value >= low - 1e-6
    assert high is None or value <= high + 1e-6
    assert format(float(value), METRICS[name].format)


@pytest.mark.parametrize(("top_k", "margin"), [(1, 0.10), (2, 0.05), (3, 0.20), (4, None)])
def test_k_is_the_routers_own_and_two_in_the_papers_definition_alone(top_k, margin):
    probs = torch.tensor([[0.05, 0.40, 0.25, 0.30]])
    selected = probs.topk(top_k).indices
    routing = TokenChoice(4, probs=probs, selected_experts=selected, routing_weights=probs.gather(1, selected))
    measured = {name: float(METRICS[name].measure(Observed(routing, probs))) for name in METRICS}
    assert measured["mean_top_k_prob"] == pytest.approx(float(probs.topk(top_k).values.mean()))
    assert measured["mean_top_2_prob"] == pytest.approx(0.35)
    assert math.isnan(measured["margin"]) if margin is None else measured["margin"] == pytest.approx(margin)


def test_what_is_not_defined_of_a_routing_is_nan(observed):
    probs = observed.routing.router_probs
    without_logits = dataclasses.replace(observed.routing, logits=None, probs=probs)
    assert math.isnan(METRICS["z_loss"].measure(Observed(without_logits, observed.output)))
    assert METRICS["z_loss"].measure(observed) > 0

    class ExpertChoice(Routing):
        tokens_per_expert = torch.tensor([10, 10, 10, 10])
        dispatch = combine = None

    other = Observed(ExpertChoice(4, probs=probs), observed.output)
    assert [name for name in METRICS if math.isnan(METRICS[name].measure(other))] == [
        "mean_top_k_prob", "margin", "mean_experts_per_token", "experts_per_token_std", "z_loss",
    ]  # fmt: skip
    assert METRICS["mean_top_2_prob"].measure(other) > 0.25


@pytest.mark.parametrize("name", METRICS)
def test_a_record_says_what_a_reader_needs(name):
    record = METRICS[name].as_dict()
    assert record["label"]
    assert len(record["definition"].split()) > 3
    assert record["better"] in (None, "lower", "higher")


def test_a_decorated_function_stays_what_it_was_and_is_known(observed, monkeypatch):
    registry = {}
    monkeypatch.setattr("routers.metric.METRICS", registry)
    decorator = metric("Halved", "half of the mean load of the experts", lambda seen: (seen.load, 2), bounds=(0, 1))

    @decorator
    def halved(load, divisor):
        return load.mean() / divisor

    assert halved(torch.tensor([2.0, 4.0]), 2) == 1.5
    assert registry["halved"].measure(observed) == 0.125


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="metric 'gini' is already registered"):
        metric("Gini", "again", lambda seen: (seen.load,), name="gini")(lambda load: load)


def test_no_expert_for_any_token_is_a_load_of_zeros_and_no_mistake():
    router = create_router("linear", hidden_size=16, num_experts=4, top_k=2, selection="threshold", limit=0.9)
    with torch.no_grad():
        seen = Observed(router(torch.randn(10, 16)), torch.zeros(10, 16))
    assert seen.load.tolist() == [0.0] * 4
    values = {name: float(known.measure(seen)) for name, known in METRICS.items()}
    assert values["mean_experts_per_token"] == values["aux_loss"] == 0
    assert math.isnan(values["load_entropy"])
