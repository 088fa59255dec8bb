"""The experts on the whole batch, each with as many rows as any other."""

from __future__ import annotations

from bench.router.stated_loads import stated_load, uniform
from bench.scenario import register_scenario

SCENARIO = register_scenario(
    stated_load("layer_uniform", "Layer, uniform load", "each expert with as many rows as any other", uniform)
)

bench_layer_uniform = SCENARIO.benchmark()
