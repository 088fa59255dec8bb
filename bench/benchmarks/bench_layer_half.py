"""The experts on the whole batch, one of which has half of the rows."""

from __future__ import annotations

from bench.router.stated_loads import half, stated_load
from bench.scenario import register_scenario

SCENARIO = register_scenario(
    stated_load(
        "layer_half",
        "Layer, half on one expert",
        "one expert with half of the rows, or one of each token where K is above 2",
        half,
    )
)

bench_layer_half = SCENARIO.benchmark()
