"""How much memory a run at asked sizes needs, before anything of it is allocated.

Axes: T tokens, D hidden size, E experts, K experts per token, I intermediate size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

from bench.case import Case
from bench.presets import Preset
from bench.router.scenarios import get_router_scenario
from bench.scenario import list_scenarios
from bench.sizes import DTYPES, SEPARATOR

FLOAT32 = 4
COPIES = 2
"""The run and the process that measures have the same tensors at once."""
SCORES_ALIVE = 4
"""(T, E) tensors in float32 that are alive at once in a router: logits, scores, what is ranked, probabilities."""


class DoesNotFitError(Exception):
    """Sizes that need more memory than there is."""


def needed_bytes(preset: Preset, *, experts: bool) -> int:
    """Of hidden states with their gradient, a router's (T, E) tensors and weights, and a bank with its rows if wanted.

    Args:
        preset: at the sizes that are measured.
        experts: a scenario puts experts behind the router.
    """
    tokens, width = preset.batch_size * preset.sequence_length, DTYPES[preset.dtype].hidden_states.itemsize
    hidden_states = tokens * preset.hidden_size * (width + FLOAT32)
    router = (SCORES_ALIVE * tokens + preset.hidden_size) * preset.num_experts * FLOAT32
    # Drawn in float32 and then rounded, so that both are alive for a moment.
    bank = 2 * preset.num_experts * preset.hidden_size * preset.intermediate_size * (width + FLOAT32)
    # A call's rows there and back and inside the networks; one process makes calls at a time.
    rows = 2 * tokens * preset.top_k * (preset.hidden_size + preset.intermediate_size) * width
    return COPIES * (hidden_states + router + (bank if experts else 0)) + (rows if experts else 0)


def refuse_what_does_not_fit(preset: Preset, cases: Iterable[Case], device: str) -> None:
    """Look at every planned input at asked sizes; those of the preset itself are known to fit.

    Raises:
        DoesNotFitError: with what is needed and what there is.
    """
    behind: dict[str, bool] = {}
    for case in cases:
        if SEPARATOR in case.input and case.scenario in list_scenarios("router"):
            label = case.input.partition(SEPARATOR)[2]
            behind[label] = behind.get(label, False) or get_router_scenario(case.scenario).with_experts
    # The batches and banks of all sizes are in memory at once.
    needs = {label: needed_bytes(preset.at(label), experts=experts) for label, experts in behind.items()}
    for label, needed in needs.items():
        expect_free(label, needed, device, " with its experts" if behind[label] else "")
    if len(needs) > 1:
        largest = max(needs, key=needs.__getitem__)
        beside = f", {needs[largest] / 1e9:,.1f} of them {largest}"
        expect_free(f"a run of {len(needs)} sizes", sum(needs.values()), device, beside)


def expect_free(what: str, needed: int, device: str, beside: str = "") -> None:
    """Refuse what needs more bytes than there are; `beside` stands after the figure.

    Raises:
        DoesNotFitError: with both figures.
    """
    available = _AVAILABLE[device]()
    if needed > available:
        raise DoesNotFitError(
            f"{what} needs about {needed / 1e9:,.1f} GB{beside}, "
            f"and {available / 1e9:,.1f} GB are free on this {device}"
        )


def _free_on_cpu() -> int:
    return int(psutil.virtual_memory().available)


def _free_on_cuda() -> int:
    return int(torch.cuda.mem_get_info()[0])


_AVAILABLE: dict[str, Callable[[], int]] = {"cpu": _free_on_cpu, "cuda": _free_on_cuda}
