"""transformers' Trainer for a model with replaced routers.

It adds the load-balancing loss, keeps what every step lost, and saves what is trained as safetensors. Axes: T tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from harness.finetuning.balance import LoadBalance
from harness.finetuning.checkpoints import checkpoint_step, newest_checkpoint, remove_unfinished, seal
from harness.finetuning.processes import (
    all_reduce_sum,
    is_main_process,
    launched_processes,
    process_count,
    wait_for_everyone,
)
from harness.finetuning.settings import DivergedError, FinetuneError, FinetuneSettings, training_precision
from harness.finetuning.training_state import REMEDY, Step, mean_of, read_state, write_state


class RouterTrainer(Trainer):
    """Trains what requires a gradient.

    Args:
        balance: hears the model's gates.
        coefficient: of the balancing loss.
        identity: of the run; a checkpoint of another one is refused.
        **arguments: the Trainer's.

    Attributes:
        steps: what every step so far lost, those before a resumption too.
        earlier_seconds: what was spent before a resumption.
    """

    def __init__(
        self, *, balance: LoadBalance, coefficient: float, identity: Mapping[str, Any], **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.balance = balance
        self.coefficient = coefficient
        self.identity = identity
        self.steps: list[Step] = []
        self.earlier_seconds = 0.0
        self.under_way = False
        self._began = time.perf_counter()
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        # The language-model loss is divided by the tokens of the whole step, and the other by its batches, both here.
        self.loss_is_scaled_for_ga = True
        self.add_callback(_EndOfStep(self))
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.bar = _Bar()
        self.add_callback(self.bar)

    def train_or_resume(self, folder: Path) -> None:
        """Train, from the newest checkpoint in the folder where there is one.

        Raises:
            FinetuneError: that cannot be used, whoever finds out.
            DivergedError: a loss is not finite.
        """
        wait_for_everyone()
        if is_main_process():
            remove_unfinished(folder)
        wait_for_everyone()
        checkpoint = newest_checkpoint(folder, self.identity)
        try:
            if checkpoint and checkpoint_step(checkpoint) >= self.args.max_steps:
                self.restore(checkpoint)  # the Trainer would take one step more
            else:
                self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except FinetuneError:
            raise
        except Exception as error:
            if checkpoint is None or self.under_way:
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise FinetuneError(f"{checkpoint}: cannot be gone on from ({reason}); {REMEDY}") from error
        finally:
            self.bar.close()
            # Training may have put the model's forward into a lower precision, which is not how it is evaluated.
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        wait_for_everyone()  # the checkpoints are removed afterwards

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The next token's loss and the balancing loss."""
        with self.balance.listening(inputs.get("attention_mask")):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        batches = self.current_gradient_accumulation_steps
        balance = self.balance.loss() / batches
        self._batches.append((loss.detach(), self.balance.switch_loss / batches, balance.detach()))
        total = loss + self.coefficient * balance
        return (total, outputs) if return_outputs else total

    def end_step(self) -> None:
        """Add up the batches of a step, and change what balances and is not trained."""
        sums = torch.stack([torch.stack(batch) for batch in self._batches]).double().sum(dim=0)
        loss, switch, balance = (all_reduce_sum(sums) / process_count()).tolist()
        if not math.isfinite(loss + switch + balance):
            raise DivergedError(f"the loss is {loss} at step {len(self.steps) + 1}")
        self.steps.append(Step(loss, switch, **self.balance.take_statistics()))
        self._batches = []
        self.balance.update()

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
            seconds = self.earlier_seconds + time.perf_counter() - self._began
            write_state(folder, dict(self._trained()), self.steps, seconds)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every process has its own random state to save
        if self.args.should_save:
            seal(Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}", self.identity)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.restore(Path(resume_from_checkpoint))

    def restore(self, folder: Path) -> None:
        """Take the weights that are trained, what balances them, and what the steps lost, from a checkpoint.

        Raises:
            FinetuneError: it is of another model or of other routers, or not what a fine-tuning writes.
        """
        trained = dict(self._trained())
        saved, self.steps, self.earlier_seconds = read_state(folder, trained)
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(saved[name])

    def _trained(self) -> list[tuple[str, Tensor]]:
        """What training changes, by name: weights, and what the balancer changes without a gradient."""
        model: Any = self.model
        weights = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        return [*weights, *((f"balance.{name}", value) for name, value in self.balance.balancer.state().items())]


def training_arguments(settings: FinetuneSettings, seed: int, folder: Path) -> TrainingArguments:
    """The settings in the Trainer's words."""
    cuda = settings.device == "cuda"
    precision = training_precision(settings.device)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="constant",
        logging_steps=settings.log_every,
        save_steps=settings.log_every,
        save_total_limit=2,
        seed=seed,
        report_to=["tensorboard"],
        use_cpu=not cuda,
        ddp_backend="gloo" if launched_processes() > 1 and not cuda else None,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
    )
    # A process has one device: with more in sight, the Trainer would share every batch out among them in threads.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _EndOfStep(TrainerCallback):
    def __init__(self, trainer: RouterTrainer) -> None:
        self._trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.under_way = True  # all of a checkpoint has been read

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
