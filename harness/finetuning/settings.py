"""The settings of a fine-tuning, its runs, and its errors."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product

import torch

from harness.replacement.moe_blocks import STOCK
from routers.balancing import get_balancer_class

TRAINED, FROZEN, UNTRAINED = "trained", "frozen", "untrained"
"""Whether the routers learn. Frozen is the control: what LoRA does without them. Untrained: the start is evaluated, and
nothing learns."""


class FinetuneError(Exception):
    """A user's mistake, or files that cannot be used: one line that names them."""


class DivergedError(Exception):
    """A run whose figures are no numbers any more: one line that names it. Others can go on."""


@dataclass(frozen=True)
class FinetuneSettings:
    """The settings that hold for all runs of a fine-tuning.

    The paper's own values, where it gives them (III-G, III-H): LoRA of rank 8 on the attention's projections with 5 %
    dropout, 100 lines of Shakespeare of at most 256 tokens, batches of 2 accumulated 4 times, 50 steps, logged every
    10. Its learning rate and LoRA alpha are lost from the text; those here are ours.

    Attributes:
        steps: of the optimiser.
        batch_size: lines in a batch, of one process.
        gradient_accumulation_steps: batches in a step.
        max_length: tokens of a line; what goes beyond is cut off.
        learning_rate: of the LoRA weights.
        router_learning_rate: of the routers.
        lora_rank: r.
        lora_alpha: LoRA's contribution is scaled by alpha / r.
        lora_dropout: share of LoRA's inputs that are dropped.
        balance: what evens out the load of the experts, one of `routers.balancing.list_balancers()`.
        load_balancing_coefficient: of the balancer's loss, see `LoadBalance`; those that are weighed by themselves, or
            have no loss, have none.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        log_every: steps between two entries of the log, and between two checkpoints.
        train_lines: how many lines are trained on.
        held_out_windows: perplexity is taken on so many passages of `max_length` tokens, of other works.
        calibration_windows: a distilled start is fitted on so many passages of 64 tokens, of yet others.
        device: "cpu" or "cuda".
        quick: a run to see that everything works; its numbers mean nothing.
    """

    steps: int = 50
    batch_size: int = 2
    gradient_accumulation_steps: int = 4
    max_length: int = 256
    learning_rate: float = 3e-4
    router_learning_rate: float = 3e-3
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    balance: str = "switch"
    load_balancing_coefficient: float = 0.01
    max_grad_norm: float = 1.0
    log_every: int = 10
    train_lines: int = 100
    held_out_windows: int = 10
    calibration_windows: int = 256
    device: str = "cpu"
    quick: bool = False

    def __post_init__(self) -> None:
        _expect("max_length", self.max_length, "at least 2, a token and the next", self.max_length >= 2)
        for field in fields(self):
            if type(field.default) is int:
                _expect(field.name, getattr(self, field.name), "at least 1", getattr(self, field.name) >= 1)
        for name in ("learning_rate", "router_learning_rate"):
            _expect(name, getattr(self, name), "above 0 and finite", 0 < getattr(self, name) < math.inf)
        _expect("lora_dropout", self.lora_dropout, "from 0 up to, not including, 1", 0 <= self.lora_dropout < 1)
        for name in ("load_balancing_coefficient", "max_grad_norm"):
            _expect(name, getattr(self, name), "at least 0 and finite", 0 <= getattr(self, name) < math.inf)
        try:
            get_balancer_class(self.balance)
        except ValueError as error:
            raise FinetuneError(f"balance: {error}") from None
        _expect("device", self.device, "cpu or cuda", self.device in ("cpu", "cuda"))


def _expect(name: str, value: object, expected: str, holds: bool) -> None:
    if not holds:
        raise FinetuneError(f"{name} is {value}, expected {expected}")


@dataclass(frozen=True)
class RunSpec:
    """One run.

    Attributes:
        router: a registered name, or `STOCK`.
        initialise: how the router begins, see `harness.replacement.initialisers.INITIALISERS`; "original" for the
            model's own.
        seed: of the router's weights, of LoRA's, of dropout and of the order of lines.
        router_training: `TRAINED`, `FROZEN` or `UNTRAINED`.
    """

    router: str
    initialise: str
    seed: int
    router_training: str

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return f"{self.router}-{self.initialise}-{self.seed}-{self.router_training}"


def make_run_specs(
    routers: Sequence[str], initialise: Sequence[str], seeds: Sequence[int], trainings: Sequence[str]
) -> list[RunSpec]:
    """Every run: seed by seed, so that a stopped fine-tuning has compared all routers on the seeds it came to."""
    combinations = product(seeds, trainings, initialise, routers)
    specs = (
        RunSpec(router, "original" if router == STOCK else start, seed, training)
        for seed, training, start, router in combinations
    )
    return list(dict.fromkeys(specs))  # the model's own gates begin in one way only


def training_precision(device: str) -> str:
    """The precision of products in training: "bf16" or "fp16" on a GPU; on a CPU "no", unless accelerate is told."""
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
