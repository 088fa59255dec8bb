"""The records of metrics."""

import pytest
import torch

from routers import create_router
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
