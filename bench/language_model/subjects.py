"""A language model with routers of a name, checked, and made ready to be timed. Axes: K experts per token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.language_model.models import Loaded
from bench.language_model.scenarios import ModelScenario, Read
from bench.language_model.shared_weights import STOCK, TWIN, install_routers, make_shell
from bench.presets import Preset
from bench.router.seeds import derive_seed
from bench.router.subjects import backend
from bench.timing.group import Candidate
from bench.timing.memory import peak_memory
from harness.assets.errors import AssetError
from harness.replacement.moe_blocks import find_moe_blocks

CHECKED_TOKENS = 16


@dataclass(frozen=True)
class Facts:
    """What the JSON says of a model's routers.

    Attributes:
        class_name: of each.
        layers: how many were put in.
        parameters: trainable ones of all of them.
        experts_per_token: K of each.
        backend: what they compute with, if they tell.
    """

    class_name: str
    layers: int
    parameters: int
    experts_per_token: int
    backend: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ModelSubject(Candidate):
    """A language model ready to be timed, or the reason why it cannot be."""

    facts: Facts | None = None


class WrongRouterError(Exception):
    """What a router makes of a language model is not right."""


def check_in_model(name: str, loaded: Loaded, read: Read) -> Facts:
    """Put routers into a shell, see that the model still works, take them out, and see that nothing has changed.

    Args:
        name: registered, or "stock": copies of the model's own, which must answer as these do, to the last bit.
        loaded: the model.
        read: gives text.

    Raises:
        WrongRouterError: logits that are not finite, or differ where they must not.
        Exception: whatever the router raises.
    """
    shell, ids = make_shell(loaded.model), read(1, CHECKED_TOKENS)
    gates = [block.gate for block in find_moe_blocks(shell)]
    with torch.no_grad(), drawn_from_the_seed():
        untouched = _logits(loaded.model, ids)
        installed = install_routers(name)(shell)
        logits = _logits(shell, ids)
        installed.restore()
        restored = _logits(shell, ids)
    if not logits.isfinite().all():
        raise WrongRouterError(f"with {name} routers, {int((~logits.isfinite()).sum())} logits are not finite")
    if name in (STOCK, TWIN) and not torch.equal(logits, untouched):
        raise WrongRouterError("copies of the model's own routers do not give the model's own logits")
    if [block.gate for block in find_moe_blocks(shell)] != gates or not torch.equal(restored, untouched):
        raise WrongRouterError(f"after {name} routers were taken out, the model is not what it was before")
    return _facts(list({id(router): router for router in installed.routers.values()}.values()), len(gates))


def make_model_subject(
    name: str, scenario: ModelScenario, loaded: Loaded, read: Read, preset: Preset, *, facts: Facts | Exception
) -> ModelSubject:
    """Make a shell, prepare its call, make that once and say what it needs.

    Args:
        name: of the routers.
        scenario: what a call does.
        loaded: the model.
        read: gives text.
        preset: sizes.
        facts: what `check_in_model` returned or raised.
    """
    try:
        if isinstance(facts, Exception):
            raise facts
        shell = make_shell(loaded.model)
        with torch.set_grad_enabled(scenario.gradients), drawn_from_the_seed():
            prepared = scenario.prepare(shell, install_routers(name), read, scenario.shape(preset))
            reset = prepared.reset or (lambda: None)
            prepared.call()
            reset()
            peak = peak_memory(prepared.call, loaded.model.device.type)
            reset()
        return ModelSubject(call=prepared.call, reset=prepared.reset, peak_memory=peak, facts=facts)
    except AssetError:
        raise
    except Exception as error:  # a router of a user's may fail in any way; its benchmark reports it, others go on
        return ModelSubject(error=error)


@contextmanager
def drawn_from_the_seed() -> Iterator[None]:
    """Inside, what is drawn at random is the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("router", 0))
        yield


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def _facts(routers: list[nn.Module], layers: int) -> Facts:
    first = routers[0]
    weights = [weight for router in routers for weight in router.parameters() if weight.requires_grad]
    return Facts(
        class_name=f"{type(first).__module__}.{type(first).__qualname__}",
        layers=layers,
        parameters=sum(weight.numel() for weight in weights),
        experts_per_token=int(first.top_k),  # type: ignore[arg-type]  # an attribute of every gate, typed as any module's
        backend=backend(first),
    )
