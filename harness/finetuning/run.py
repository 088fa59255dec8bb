"""One run: a model, its routers replaced, LoRA around it, trained, and evaluated before and after."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.adapters import save_adapter
from harness.assets import ModelAsset
from harness.calibration import Calibration
from harness.finetuning.balance import LoadBalance
from harness.finetuning.checkpoints import checkpoint_step, newest_checkpoint
from harness.finetuning.evaluation import evaluate
from harness.finetuning.processes import is_main_process, launched_processes
from harness.finetuning.settings import STOCK, TRAINED, UNTRAINED, FinetuneError, Plan, Settings
from harness.injection import replace_routers
from harness.language_model import LanguageModel, load_language_model
from harness.moe_blocks import MoEBlock, find_moe_blocks
from harness.passages import Passages, encode_lines, encode_windows, pad_batch
from routers import get_router_class

CALIBRATION_LENGTH = 64
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Material:
    """What all runs share.

    Attributes:
        asset: the model.
        passages: the text.
        settings: how to train.
    """

    asset: ModelAsset
    passages: Passages
    settings: Settings
    _calibration: list[Calibration] = field(default_factory=list, repr=False, compare=False)

    def train(self, language_model: LanguageModel) -> list[Tensor]:
        """The token ids of the lines to train on.

        Raises:
            FinetuneError: the text has fewer.
        """
        lines, count = self.passages.train, self.settings.train_lines
        if len(lines) < count:
            raise FinetuneError(f"train_lines is {count}, the text has {len(lines)}")
        return encode_lines(language_model.tokenizer, lines[:count], max_length=self.settings.max_length)

    def held_out(self, language_model: LanguageModel) -> list[Tensor]:
        """The token ids of the passages that perplexity is taken on.

        Passages and not lines: of a line without what comes before it any model knows little.
        """
        text, count = self.passages.held_out_text, self.settings.held_out_windows
        return self._windows("held_out_windows", language_model, text, self.settings.max_length, count)

    def calibration(self, language_model: LanguageModel) -> Calibration:
        """What the model's own gates do, found out once for all runs."""
        if not self._calibration:
            text, count = self.passages.calibration_text, self.settings.calibration_windows
            windows = self._windows("calibration_windows", language_model, text, CALIBRATION_LENGTH, count)
            self._calibration.append(Calibration(windows))
        return self._calibration[0]

    def _windows(self, name: str, language_model: LanguageModel, text: str, length: int, count: int) -> list[Tensor]:
        try:
            return list(encode_windows(language_model.tokenizer, text, length=length, count=count))
        except ValueError as error:
            raise FinetuneError(f"{name}: {error}") from None


def run(plan: Plan, material: Material, folder: Path) -> dict[str, Any]:
    """Carry a plan out; continues from the newest checkpoint in the folder, if there is one.

    The folder receives checkpoints and TensorBoard's logs meanwhile, and at the end `adapter/` with LoRA and routers (a
    model with its own gates is a reference only and leaves none).

    Returns:
        the JSON entry of the run.

    Raises:
        FinetuneError: no MoE model, no projections for LoRA, routers that cannot be put into it or do not choose
            experts for tokens, or a corrupt checkpoint.
    """
    began = time.perf_counter()
    settings = material.settings
    language_model = load_language_model(material.asset)
    model: Any = language_model.model
    model.to(settings.device)
    originals = {block.name: copy.deepcopy(block.gate) for block in moe_blocks(material.asset, model)}
    held_out = material.held_out(language_model)
    _seed(plan.seed)
    _replace(plan, material, language_model)
    gates = {block.name: block.gate for block in find_moe_blocks(model)}
    try:
        before = evaluate(model, held_out, gates, originals)
    except TypeError as error:  # it does not choose experts for tokens
        raise FinetuneError(f"{plan.router}: {error}") from None
    after, steps, trained_parameters = None, [], 0
    if plan.router_training != UNTRAINED:
        _seed(plan.seed)  # so that a router that draws more numbers does not change LoRA's weights and the lines' order
        peft_model = add_lora(model, settings)
        for gate in gates.values():
            gate.requires_grad_(plan.router_training == TRAINED)
        trained_parameters = sum(weight.numel() for weight in peft_model.parameters() if weight.requires_grad)
        steps = train(peft_model, gates, material.train(language_model), plan, settings, folder)
        after = evaluate(peft_model, held_out, gates, originals)
        if is_main_process() and plan.router != STOCK:
            save_adapter(peft_model, folder / "adapter")
    return {
        **asdict(plan),
        "class": _class_name(plan.router, gates),
        "router_parameters": sum(weight.numel() for gate in gates.values() for weight in gate.parameters()),
        "trained_parameters": trained_parameters,
        "losses": steps,
        "perplexity": {"before": before.perplexity, "after": after and after.perplexity},
        "agreement": {"before": before.agreement, "after": after and after.agreement},
        "seconds": time.perf_counter() - began,
    }


def moe_blocks(asset: ModelAsset, model: nn.Module) -> list[MoEBlock]:
    """The model's Mixture-of-Experts blocks.

    Raises:
        FinetuneError: it has none, or is of an unknown family.
    """
    try:
        return find_moe_blocks(model)
    except ValueError as error:
        raise FinetuneError(f"{asset.name}: {error}") from None


def add_lora(model: Any, settings: Settings) -> Any:
    """The model in peft's wrapper, with LoRA on its attention's projections and everything else frozen.

    Raises:
        FinetuneError: it has none of those projections.
    """
    from peft import LoraConfig, get_peft_model

    targets = [name for name in LORA_TARGETS if any(path.endswith(f".{name}") for path, _ in model.named_modules())]
    if not targets:
        raise FinetuneError(f"{type(model).__name__} has none of {', '.join(LORA_TARGETS)}, which LoRA is put on")
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks the model for a property that transformers has renamed; nobody here can do anything about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def train(
    peft_model: Any,
    gates: Mapping[str, nn.Module],
    lines: Sequence[Tensor],
    plan: Plan,
    settings: Settings,
    folder: Path,
) -> list[dict[str, float]]:
    """Train, with a checkpoint at each entry of the log; returns the log."""
    from transformers import TrainingArguments

    from harness.finetuning.trainer import RouterTrainer, mean_of

    cuda = settings.device == "cuda"
    bfloat16 = cuda and torch.cuda.is_bf16_supported()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    trainer = RouterTrainer(
        balance=LoadBalance(gates),
        coefficient=settings.load_balancing_coefficient,
        model=peft_model,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            lr_scheduler_type="constant",
            logging_steps=settings.log_every,
            save_steps=settings.log_every,
            save_total_limit=2,
            seed=plan.seed,
            report_to=["tensorboard"],
            use_cpu=not cuda,
            ddp_backend="gloo" if launched_processes() > 1 and not cuda else None,
            bf16=bfloat16,
            fp16=cuda and not bfloat16,
            remove_unused_columns=False,
            dataloader_pin_memory=cuda,
        ),
        train_dataset=lines,
        data_collator=lambda batch: pad_batch(batch, _padding(peft_model)),
        optimizers=(_optimiser(peft_model, gates, settings), None),
    )
    checkpoint = newest_checkpoint(folder)
    if checkpoint and checkpoint_step(checkpoint) >= settings.steps:
        trainer.restore(checkpoint)  # the Trainer would take one step more
    else:
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            trainer.bar.close()
    return [
        {"step": min(start + settings.log_every, settings.steps)}
        | mean_of(trainer.steps[start : start + settings.log_every])
        for start in range(0, settings.steps, settings.log_every)
    ]


def _replace(plan: Plan, material: Material, language_model: LanguageModel) -> None:
    if plan.router == STOCK:
        return
    options: dict[str, Any] = {}
    if plan.initialise == "distilled":
        options["calibration"] = material.calibration(language_model)
    try:
        replace_routers(language_model.model, plan.router, initialise=plan.initialise, **options)
    except (ValueError, TypeError) as error:
        raise FinetuneError(f"{plan.router}: {error}") from None


def _optimiser(model: nn.Module, gates: Mapping[str, nn.Module], settings: Settings) -> torch.optim.Optimizer:
    routers = {id(weight) for gate in gates.values() for weight in gate.parameters()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in trained if id(w) not in routers], "lr": settings.learning_rate},
        {"params": [w for w in trained if id(w) in routers], "lr": settings.router_learning_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)


def _padding(model: Any) -> int:
    """Any id will do: padding is neither attended to nor learned from."""
    return int(model.config.pad_token_id or 0)


def _class_name(router: str, gates: Mapping[str, nn.Module]) -> str:
    kind = type(next(iter(gates.values()))) if router == STOCK else get_router_class(router)
    return f"{kind.__module__}.{kind.__qualname__}"


def _seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)
