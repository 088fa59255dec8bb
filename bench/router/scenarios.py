"""What one timed call does with a router by itself. Axes: T tokens, D hidden size, E experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.case import Case, Replay
from bench.presets import Preset
from bench.router.inputs import inputs_of
from bench.scenario import Scenario, list_scenarios
from bench.timing.interleave import Call
from routers import Router, list_routers

MakeExperts = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class RouterScenario(Scenario):
    """A way to use a router by itself.

    Attributes:
        prepare: (router, hidden_states (T, D), experts) -> the call to time; the experts are made when called.
        tokens: how many of the T tokens one call handles; all, unless said otherwise.
        every_input: it is timed on every input; otherwise on those alone that say so.
        with_floor: routers are timed beside their floors.
        with_experts: a call goes through the experts, so that memory has to hold them.
        routers: () -> the names of those that it is measured of; all that are registered, unless said otherwise.
    """

    subject = "router"

    prepare: Callable[[Router, Tensor, MakeExperts], Call]
    tokens: Callable[[int], int] = lambda tokens: tokens
    every_input: bool = False
    with_floor: bool = False
    with_experts: bool = False
    routers: Callable[[], Sequence[str]] = list_routers

    def benchmark(self) -> Callable[..., None]:
        """A benchmark of a router on an input."""

        def bench(replay: Replay, input_name: str, router_name: str) -> None:
            replay(Case(self.name, router_name, input_name))

        return bench

    def parameters(self, preset: Preset) -> dict[str, Sequence[str]]:
        """The scenario's routers on every input of the scenario, at all sizes that the preset names."""
        return {"router_name": self.routers(), "input_name": inputs_of(preset, every=self.every_input)}


def get_router_scenario(name: str) -> RouterScenario:
    """The registered scenario of that name."""
    return cast(RouterScenario, list_scenarios("router")[name])


def count_flops(call: Call) -> int:
    """Floating-point operations of one call, matrix products only, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
