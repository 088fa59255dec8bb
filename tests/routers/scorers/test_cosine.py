"""Cosine router. Axes: T tokens, D hidden size, E experts, Q projected size."""

import math

import pytest


@pytest.mark.parametrize(("size", "temperature"), [(None, 0.07), (3, 0.5)])
def test_equals_the_plain_formula(size, temperature, make_router, plain, parameters_of, assert_equals_formula):
    options = {"projected_size": size, "temperature": temperature}
    router = make_router("cosine", hidden_size=13, num_experts=6, spread=0.1, **options)
    parameters = parameters_of(router)
    assert len(parameters["projection.weight"]) == (size or 3)

    def formula(token):
        projected = plain.unit(plain.matvec(parameters["projection.weight"], token))
        cosines = plain.matvec([plain.unit(centre) for centre in parameters["centres"]], projected)
        return plain.softmax([value / math.exp(parameters["log_temperature"]) for value in cosines])

    assert_equals_formula(router, formula)


def test_starts_at_the_papers_temperature_and_size(parameter_count, make_router):
    assert parameter_count("cosine") == 768 * 4 + 8 * 4 + 1
    assert float(make_router("cosine").log_temperature.detach().exp()) == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"projected_size": 0}, "projected_size is 0, expected at least 1"),
        ({"temperature": 0.0}, r"temperature is 0\.0, expected a finite number above 0"),
    ],
)
def test_impossible_options_are_refused(options, named, make_router):
    with pytest.raises(ValueError, match=named):
        make_router("cosine", **options)
