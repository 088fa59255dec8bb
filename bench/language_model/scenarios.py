"""What one timed call does with a language model. Axes: B batch, S sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from bench.case import Case, Replay
from bench.language_model.shared_weights import Install
from bench.presets import Preset
from bench.scenario import Scenario, list_scenarios
from bench.timing.group import PreparedCall
from harness.replacement.moe_blocks import STOCK
from routers import list_routers

Read = Callable[..., Tensor]
"""(*shape) -> tokens of real text."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelScenario(Scenario):
    """A way to use a language model with routers.

    Attributes:
        prepare: (a copy of the model that shares its weights, install, read, (B, S)) -> the call to time.
        shape: preset -> (B, S) of the text that a call needs.
        tokens: (B, S) -> how many tokens one call handles; all, unless said otherwise.
        share: rounds of a block, as a multiple of the preset's: the short calls' are cheap.
    """

    subject = "language_model"

    prepare: Callable[[nn.Module, Install, Read, tuple[int, int]], PreparedCall]
    shape: Callable[[Preset], tuple[int, int]]
    tokens: Callable[[int, int], int] = lambda B, S: B * S
    share: int = 1

    def benchmark(self) -> Callable[..., None]:
        """A benchmark of a language model with a router."""

        def bench(replay: Replay, router_name: str) -> None:
            replay(Case(self.name, router_name))

        return bench

    def parameters(self, preset: Preset) -> dict[str, Sequence[str]]:
        """The model's own routers, and every registered one that chooses experts for tokens."""
        return {"router_name": [STOCK, *list_routers(token_choice=True)]}

    def is_collected(self, preset: Preset) -> bool:
        """A model has its own sizes: where others are asked for it is not measured."""
        return super().is_collected(preset) and not preset.sizes


def get_language_model_scenario(name: str) -> LanguageModelScenario:
    """The registered scenario of that name."""
    return cast(LanguageModelScenario, list_scenarios("language_model")[name])
