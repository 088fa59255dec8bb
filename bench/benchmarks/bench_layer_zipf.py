"""The experts on the whole batch, with loads after Zipf's law."""

from __future__ import annotations

from bench.router.stated_loads import stated_load, zipf
from bench.scenario import register_scenario

SCENARIO = register_scenario(
    stated_load("layer_zipf", "Layer, Zipf's load", "the e-th expert with 1/e of the first one's rows", zipf)
)

bench_layer_zipf = SCENARIO.benchmark()
