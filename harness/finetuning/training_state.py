"""What a checkpoint has beside the Trainer's own files: what training changes, and what each step lost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.finetuning.checkpoints import checkpoint_step, write_json
from harness.finetuning.settings import FinetuneError

WEIGHTS = "trained.safetensors"
STEPS = "steps.json"
STATE = "trainer_state.json"
REMEDY = "remove it to go on from the one before"


@dataclass(frozen=True)
class Step:
    """The losses and the load of one optimiser step, over all processes.

    Attributes:
        loss: of the next token, the mean over all tokens of the step; in nats, without the balancing loss.
        load_balancing_loss: E Σ f P, the mean over the step's batches, whatever balances; 1 at balance.
        max_violation: of the step's tokens, the mean over layers.
        load_cv: coefficient of variation of the load, the mean over layers.
    """

    loss: float
    load_balancing_loss: float
    max_violation: float
    load_cv: float


def write_state(folder: Path, trained: Mapping[str, Tensor], steps: Sequence[Step], seconds: float) -> None:
    """Write what training changes, by name, what every step so far lost, and the seconds that it took."""
    save_file({name: weight.detach().contiguous() for name, weight in trained.items()}, folder / WEIGHTS)
    write_json(folder / STEPS, {"seconds": seconds, "steps": [asdict(step) for step in steps]})


def read_state(folder: Path, trained: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Step], float]:
    """Read what `write_state` wrote.

    Args:
        folder: the checkpoint.
        trained: the weights that are trained now, whose names, shapes and dtypes it must have.

    Raises:
        FinetuneError: it is of another model or of other routers, or not what a fine-tuning writes.
    """
    try:
        saved = load_file(folder / WEIGHTS)
        content = json.loads((folder / STEPS).read_text())
        steps = [Step(**{name: float(value) for name, value in step.items()}) for step in content["steps"]]
        seconds = float(content["seconds"])
        taken = json.loads((folder / STATE).read_text())["global_step"]
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FinetuneError(f"{folder}: not a checkpoint of a fine-tuning ({error}); {REMEDY}") from None
    if {name: _form(weight) for name, weight in saved.items()} != {name: _form(w) for name, w in trained.items()}:
        raise FinetuneError(f"{folder / WEIGHTS}: holds other weights than those that are trained; {REMEDY}")
    if wrong := sorted(name for name, weight in saved.items() if not bool(weight.isfinite().all())):
        raise FinetuneError(f"{folder / WEIGHTS}: {wrong[0]} holds NaN or infinity; {REMEDY}")
    if not taken == len(steps) == checkpoint_step(folder):
        raise FinetuneError(f"{folder}: {STATE} says {taken} steps and {STEPS} {len(steps)}; {REMEDY}")
    if not all(map(math.isfinite, [seconds, *(value for step in steps for value in asdict(step).values())])):
        raise FinetuneError(f"{folder / STEPS}: holds a number that is not finite; {REMEDY}")
    return saved, steps, seconds


def _form(weight: Tensor) -> tuple[torch.Size, torch.dtype]:
    return weight.shape, weight.dtype


def mean_of(steps: list[Step]) -> dict[str, float]:
    """The mean over the steps of each of their values, by name."""
    records = [asdict(step) for step in steps]
    return {name: sum(record[name] for record in records) / len(records) for name in records[0]}
