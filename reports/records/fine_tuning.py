"""Fine-tuning of a language model with replaced routers, typed: what runs logged, and how well they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from reports.judging.order import STOCK, in_order, start_rank
from reports.records.record import Amount, Count, Name, Positive, Record, Share, Size
from reports.records.rules import above

TRAINED, FROZEN, UNTRAINED = "trained", "frozen", "untrained"
# A quantity of a run, None where it does not exist.
Quantity = Callable[["Run"], float | None]


class Log(Record):
    """Means over the steps since the entry before; None where the writer had no finite number."""

    step: Size
    loss: Amount | None
    load_balancing_loss: Amount | None = None
    max_violation: Amount | None = None
    load_cv: Amount | None = None


Perplexity = Annotated[Positive, Field(ge=1)]
"""exp of a mean loss, which is never negative."""


class Perplexities(Record):
    """Perplexity before training and after it; without training there is no after."""

    before: Perplexity | None = None
    after: Perplexity | None = None


class Agreements(Record):
    """Agreement with the original gate before training and after it; without training there is no after."""

    before: Share | None = None
    after: Share | None = None


class Run(Record):
    """One fine-tuning from one seed.

    Attributes:
        router: its name; `stock` for the model's own gates.
        initialise: how the router got its first weights.
        seed: of the router, the order of the lines and dropout.
        router_training: `trained`; `frozen`, the control in which only the adapters learn; `untrained`, where nothing
            does and the start alone is evaluated.
        router_parameters: of all its routers.
        trained_parameters: those and the adapters'.
        log: by step; empty without training.
        perplexity: on text not trained on.
        agreement: share of the original gate's experts that are selected too, on the same text.
        seconds: the whole run.
        original: perplexity of the untouched model, in the file of this run.
    """

    router: Name
    initialise: Name
    seed: Count
    router_training: Literal["trained", "frozen", "untrained"]
    router_parameters: Count
    trained_parameters: Count
    log: tuple[Log, ...] = Field(alias="losses")
    perplexity: Perplexities
    agreement: Agreements
    seconds: Positive | None = None
    original: float | None = Field(default=None, exclude=True)

    def contradictions(self) -> Iterator[str | None]:
        """What is trained is more than what is trained of the routers; without training nothing comes of it."""
        if self.router_training == TRAINED:
            yield above("router_parameters", self.router_parameters, self.trained_parameters, "trained_parameters")
        if self.router_training == UNTRAINED:
            without = "although router_training is untrained"
            yield f"losses has {len(self.log)} items, {without}" if self.log else None
            for name, after in (("perplexity", self.perplexity.after), ("agreement", self.agreement.after)):
                yield None if after is None else f"{name}.after is {after}, {without}"

    @field_validator("log")
    @classmethod
    def _goes_forward(cls, log: tuple[Log, ...]) -> tuple[Log, ...]:
        for index, (before, entry) in enumerate(pairwise(log), start=1):
            if entry.step <= before.step:
                message = "[{index}].step is {step}, not after {before}"
                raise PydanticCustomError("order", message, {"index": index, "step": entry.step, "before": before.step})
        return log

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What two files may both hold, and only one can win."""
        return self.router, self.initialise, self.seed, self.router_training


class Runs(dict[int, Run]):
    """Runs by seed."""

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that any of the runs has logged, in order."""
        return tuple(sorted({log.step for run in self.values() for log in run.log}))

    def known(self, quantity: Quantity) -> dict[int, float]:
        """A quantity by seed, where it exists."""
        return {seed: value for seed, run in self.items() if (value := quantity(run)) is not None}

    def at(self, step: int, quantity: Callable[[Log], float | None]) -> dict[int, float]:
        """What was logged at a step, by seed, where it exists."""
        logged = ((seed, log) for seed, run in self.items() for log in run.log if log.step == step)
        return {seed: value for seed, log in logged if (value := quantity(log)) is not None}


@dataclass(frozen=True)
class Variant:
    """All runs of one router from one start."""

    router: str
    initialise: str
    trained: Runs
    frozen: Runs
    untrained: Runs

    @property
    def seeds(self) -> set[int]:
        """Of any run."""
        return {*self.trained, *self.frozen, *self.untrained}

    @property
    def router_parameters(self) -> int:
        """Of all its routers, the same in all runs."""
        return next(iter((self.trained or self.frozen or self.untrained).values())).router_parameters

    def at_start(self, quantity: Quantity) -> dict[int, float]:
        """What is so before any step, by seed, and therefore the same in every run of a seed."""
        return self.untrained.known(quantity) | self.frozen.known(quantity) | self.trained.known(quantity)

    @cached_property
    def curves(self) -> dict[int, tuple[float | None, ...]]:
        """Losses of the trained runs in the order of their steps, by seed; runs without steps have none."""
        return {seed: tuple(log.loss for log in run.log) for seed, run in self.trained.items() if run.log}


@dataclass(frozen=True)
class FineTuning:
    """All runs of one model on one text with one setting, from one file or several."""

    model: Mapping[str, Any]
    text: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The runs by router and start, in the report's order."""
        order = in_order(run.router for run in self.runs)
        keys = dict.fromkeys((run.router, run.initialise) for run in self.runs)
        ranked = sorted(keys, key=lambda key: (order.index(key[0]), start_rank(key[1])))
        return tuple(
            Variant(router, start, *(self._runs(router, start, training) for training in (TRAINED, FROZEN, UNTRAINED)))
            for router, start in ranked
        )

    @property
    def routers(self) -> tuple[str, ...]:
        """The routers, the model's own first."""
        return tuple(dict.fromkeys(variant.router for variant in self.variants))

    @property
    def stock(self) -> Variant | None:
        """The model's own gates, fine-tuned like the others."""
        return next((variant for variant in self.variants if variant.router == STOCK), None)

    @property
    def original(self) -> float | None:
        """Perplexity of the untouched model, as the last file that knows it has measured it."""
        return next((run.original for run in reversed(self.runs) if run.original is not None), None)

    @property
    def quick(self) -> bool:
        """Whether this is a subsample that proves that the parts work, and no result."""
        return bool(self.settings["quick"])

    def _runs(self, router: str, start: str, training: str) -> Runs:
        wanted = (router, start, training)
        found = [run for run in self.runs if (run.router, run.initialise, run.router_training) == wanted]
        return Runs((run.seed, run) for run in sorted(found, key=lambda run: run.seed))
