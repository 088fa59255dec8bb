"""Routers put into a language model and taken out again, with every registered router and the model's own."""

from __future__ import annotations

from torch import nn

from bench.language_model.scenarios import LanguageModelScenario, Read
from bench.language_model.shared_weights import Install
from bench.scenario import register_scenario
from bench.timing.group import PreparedCall


def replace_and_restore(model: nn.Module, install: Install, read: Read, shape: tuple[int, int]) -> PreparedCall:
    """Find the blocks, make a router for each, put them in and take them out again.

    For stock: find the blocks, copy the model's own gates, put the copies in and take them out, which is the least that
    a replacement can do.
    """
    return PreparedCall(lambda: install(model).restore())


SCENARIO = register_scenario(
    LanguageModelScenario(
        name="inject",
        label="Inject",
        description="replacing the routers of all layers, and putting the old ones back",
        prepare=replace_and_restore,
        shape=lambda preset: (0, 0),
        tokens=lambda B, S: 0,
        share=4,
    )
)

bench_inject = SCENARIO.benchmark()
