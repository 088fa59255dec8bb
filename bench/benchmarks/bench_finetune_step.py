"""A step of LoRA fine-tuning of a language model, with every registered router and with its own."""

from __future__ import annotations

from bench.case import Case
from bench.session import Replay

SCENARIO = "finetune_step"


def bench_finetune_step(replay: Replay, router_name: str) -> None:
    """Time of forward, backward and the optimiser's step on one batch."""
    replay(Case(SCENARIO, router_name))
