"""transformers' Trainer for a model with replaced routers.

It adds the load-balancing loss, keeps what every step lost, and saves what is trained as safetensors. Axes: T tokens.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from harness.finetuning.balance import LoadBalance
from harness.finetuning.checkpoints import seal, write_json
from harness.finetuning.processes import all_reduce_sum, process_count

WEIGHTS = "trained.safetensors"
STEPS = "steps.json"


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser was about, over all processes.

    Attributes:
        loss: of the next token, the mean over all tokens of the step; in nats, without the load-balancing loss.
        load_balancing_loss: E Σ f P, the mean over the step's batches; 1 at balance.
        max_violation: of the step's tokens, the mean over layers.
        load_cv: coefficient of variation of the load, the mean over layers.
    """

    loss: float
    load_balancing_loss: float
    max_violation: float
    load_cv: float


class RouterTrainer(Trainer):
    """Trains what requires a gradient.

    Args:
        balance: hears the model's gates.
        coefficient: of the load-balancing loss.
        **arguments: the Trainer's.

    Attributes:
        steps: what every step so far lost, those before a resumption too.
    """

    def __init__(self, *, balance: LoadBalance, coefficient: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.balance = balance
        self.coefficient = coefficient
        self.steps: list[Step] = []
        self._batches: list[tuple[Tensor, Tensor]] = []
        # The language-model loss is divided by the tokens of the whole step, and the other by its batches, both here.
        self.loss_is_scaled_for_ga = True
        self.add_callback(_EndOfStep(self))
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.bar = _Bar()
        self.add_callback(self.bar)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The next token's loss and the load-balancing loss."""
        with self.balance.listening(inputs.get("attention_mask")):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        balance = self.balance.loss() / self.current_gradient_accumulation_steps
        self._batches.append((loss.detach(), balance.detach()))
        total = loss + self.coefficient * balance
        return (total, outputs) if return_outputs else total

    def end_step(self) -> None:
        """Add up the batches of a step."""
        sums = torch.stack([torch.stack(batch) for batch in self._batches]).double().sum(dim=0)
        loss, balance = (all_reduce_sum(sums) / process_count()).tolist()
        self.steps.append(Step(loss, balance, **self.balance.take_statistics()))
        self._batches = []

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the means since the last entry.

        The Trainer's own count of the loss begins anew when it resumes, and has the load-balancing loss in it.
        """
        if "loss" in logs and self.steps:
            every = int(self.args.logging_steps)
            since = (int(self.state.global_step) - 1) // every * every
            logs = logs | mean_of(self.steps[since:])
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save what is trained, by name, and no pickled arguments."""
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: weight.detach().contiguous() for name, weight in self._trained()}, folder / WEIGHTS)
            write_json(folder / STEPS, [asdict(step) for step in self.steps])

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every process has its own random state to save
        if self.args.should_save:
            seal(Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.restore(Path(resume_from_checkpoint))

    def restore(self, folder: Path) -> None:
        """Take the weights that are trained, and what the steps lost, from a checkpoint.

        Raises:
            ValueError: it is of another model or of other routers.
        """
        saved = load_file(folder / WEIGHTS)
        trained = dict(self._trained())
        if {name: weight.shape for name, weight in saved.items()} != {name: w.shape for name, w in trained.items()}:
            raise ValueError(f"{folder / WEIGHTS}: holds other weights than those that are trained")
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(saved[name])
        self.steps = [Step(**step) for step in json.loads((folder / STEPS).read_text())]

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        model: Any = self.model
        return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


class _EndOfStep(TrainerCallback):
    def __init__(self, trainer: RouterTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.end_step()


class _Bar(ProgressCallback):
    """The progress bar with the loss beside it, in place of a printed dictionary for each entry of the log."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4f}")

    def close(self) -> None:
        """Leave the line to others, where training was interrupted."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None


def mean_of(steps: list[Step]) -> dict[str, float]:
    """The mean of each figure."""
    records = [asdict(step) for step in steps]
    return {name: sum(record[name] for record in records) / len(records) for name in records[0]}
