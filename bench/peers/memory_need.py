"""How much memory a work needs, before anything of it is allocated.

Axes: T tokens, D hidden size, I intermediate size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.case import Case
from bench.peers.works import Works
from bench.presets import Preset
from bench.router.memory_need import FLOAT32, expect_free
from bench.scenario import list_scenarios
from bench.sizes import DTYPES

SHARES = 3
"""Of the weights: ours, a peer's own, and the gradients of whoever is called."""


def refuse_works_that_do_not_fit(preset: Preset, cases: Iterable[Case], device: str) -> None:
    """Look at every planned work; one is in memory at a time.

    Raises:
        DoesNotFitError: with what the largest needs and what there is.
    """
    works, scenarios = Works(preset, device), list_scenarios("peer")
    inputs = dict.fromkeys(case.input for case in cases if case.scenario in scenarios)
    if inputs:
        largest = max(inputs, key=lambda name: needed_bytes(works, name))
        expect_free(largest, needed_bytes(works, largest), device)


def needed_bytes(works: Works, input_name: str) -> int:
    """Of the weights, three times over, of a bank as it is drawn in float32, and of the rows of all tokens."""
    sizes, width = works.sizes(input_name), DTYPES[works.preset(input_name).dtype].hidden_states.itemsize
    bank = sizes.num_experts * sizes.hidden_size * sizes.intermediate_size
    weights = 3 * bank + sizes.num_experts * sizes.hidden_size
    rows = works.num_tokens(input_name) * sizes.top_k * (2 * sizes.hidden_size + 3 * sizes.intermediate_size)
    logits = works.num_tokens(input_name) * sizes.num_experts
    return SHARES * weights * width + FLOAT32 * (bank + logits) + 2 * rows * width
