"""A language model with routers of a name, checked, and a call made ready. Axes: K experts per token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.language_model.models import LoadedModel
from bench.language_model.scenarios import LanguageModelScenario
from bench.language_model.shared_weights import TWIN, install_routers, make_shared_copy
from bench.presets import Preset
from bench.router.checked import backend
from bench.router.seeds import derive_seed
from bench.timing.group import Checked, PreparedCall
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from routers.parameters import count_parameters
from routers.registry import class_path

CHECKED_TOKENS = 16


@dataclass(frozen=True)
class InstalledRouters:
    """What the JSON says of a model's routers.

    Attributes:
        class_path: of each.
        layers: how many were put in.
        parameters: trainable ones of all of them.
        experts_per_token: K of each.
        backend: what they compute with, if they tell.
    """

    class_path: str
    layers: int
    parameters: int
    experts_per_token: int
    backend: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CheckedModel(Checked):
    """A language model whose routers may be timed, or the reason why they may not."""

    installed: InstalledRouters | None = None


class WrongRouterError(Exception):
    """What a router makes of a language model is not right."""


def check_in_model(name: str, loaded: LoadedModel) -> InstalledRouters:
    """Put routers into a copy, see that the model still works, take them out, and see that nothing has changed.

    Args:
        name: registered, or "stock": copies of the model's own, which must answer as these do, to the last bit.
        loaded: the model, which reads a text.

    Raises:
        WrongRouterError: logits that are not finite, or differ where they must not.
        Exception: whatever the router raises.
    """
    model, ids = make_shared_copy(loaded.model), loaded.read(1, CHECKED_TOKENS)
    gates = [block.gate for block in find_moe_blocks(model)]
    with torch.no_grad(), drawn_from_the_seed():
        untouched = _logits(loaded.model, ids)
        installed = install_routers(name)(model)
        logits = _logits(model, ids)
        installed.restore()
        restored = _logits(model, ids)
    if not logits.isfinite().all():
        raise WrongRouterError(f"with {name} routers, {int((~logits.isfinite()).sum())} logits are not finite")
    if name in (STOCK, TWIN) and not torch.equal(logits, untouched):
        raise WrongRouterError("copies of the model's own routers do not give the model's own logits")
    if [block.gate for block in find_moe_blocks(model)] != gates or not torch.equal(restored, untouched):
        raise WrongRouterError(f"after {name} routers were taken out, the model is not what it was before")
    return _describe(list({id(router): router for router in installed.routers.values()}.values()), len(gates))


def make_ready(name: str, scenario: LanguageModelScenario, loaded: LoadedModel, preset: Preset) -> PreparedCall:
    """The call of a scenario, with routers of the run's seed in a copy of the model that shares its weights.

    Args:
        name: of the routers.
        scenario: what a call does.
        loaded: the model, which reads a text.
        preset: sizes.
    """
    with torch.set_grad_enabled(scenario.gradients), drawn_from_the_seed():
        return scenario.prepare(
            make_shared_copy(loaded.model), install_routers(name), loaded.read, scenario.shape(preset)
        )


@contextmanager
def drawn_from_the_seed() -> Iterator[None]:
    """Inside, what is drawn at random is the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("router", 0))
        yield


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def _describe(routers: list[nn.Module], layers: int) -> InstalledRouters:
    first = routers[0]
    return InstalledRouters(
        class_path=class_path(type(first)),
        layers=layers,
        parameters=sum(count_parameters(router, trainable=True) for router in routers),
        experts_per_token=int(first.top_k),  # type: ignore[arg-type]  # an attribute of every gate, typed as any module's
        backend=backend(first),
    )
