"""One run: a model, its routers replaced, LoRA around it, trained, and evaluated before and after."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.assets.resolve import ModelAsset
from harness.finetuning.balance import LoadBalance
from harness.finetuning.data import FinetuneData, router_code
from harness.finetuning.evaluation import evaluate
from harness.finetuning.processes import is_main_process
from harness.finetuning.settings import TRAINED, UNTRAINED, FinetuneError, FinetuneSettings, RunSpec
from harness.language_models.load import LanguageModel, load_language_model
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import STOCK, MoEBlock, find_moe_blocks
from harness.saving.adapters import save_adapter
from harness.text.passages import pad_batch
from routers import get_router_class
from routers.balancing import get_balancer_class
from routers.parameters import count_parameters

LORA_TARGETS = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"),
)
"""The attention's projections; DeepSeek-V3 makes queries, keys and values in two steps each, or in one for queries."""


def run(spec: RunSpec, data: FinetuneData, folder: Path) -> dict[str, Any]:
    """Carry a spec out; continues from the newest checkpoint in the folder, if there is one.

    The folder receives checkpoints and TensorBoard's logs meanwhile, and at the end `adapter/` with LoRA and routers (a
    model with its own gates is a reference only and leaves none).

    Returns:
        the JSON entry of the run.

    Raises:
        FinetuneError: no MoE model, no projections for LoRA, routers that cannot be put into it or do not choose
            experts for tokens, or a corrupt checkpoint.
    """
    settings = data.settings
    language_model = load_language_model(data.asset)
    model: Any = language_model.model
    model.config.output_router_logits = False  # or the model would add a balancing loss of its own to what it returns
    model.to(settings.device)
    blocks = moe_blocks(data.asset, model)
    originals = {block.name: copy.deepcopy(block.gate) for block in blocks}
    held_out = data.held_out(language_model)
    _seed(spec.seed)
    _replace(spec, data, language_model)
    gates = {block.name: block.gate for block in find_moe_blocks(model)}
    balance = _load_balance(spec, settings, gates, blocks[0].top_k)
    began = time.perf_counter()
    try:
        before = evaluate(model, held_out, gates, originals)
    except TypeError as error:  # it does not choose experts for tokens
        raise FinetuneError(f"{spec.router}: {error}") from None
    after, trained_parameters, earlier = None, 0, 0.0
    log: list[dict[str, float]] = []
    if spec.router_training != UNTRAINED:
        _seed(spec.seed)  # so that a router that draws more numbers does not change LoRA's weights and the lines' order
        peft_model = add_lora(model, settings)
        for gate in gates.values():
            gate.requires_grad_(spec.router_training == TRAINED)
        trained_parameters = count_parameters(peft_model, trainable=True)
        log, earlier = train(peft_model, gates, balance, language_model, spec, data, folder)
        after = evaluate(peft_model, held_out, gates, originals)
        if is_main_process() and spec.router != STOCK:
            save_adapter(peft_model, folder / "adapter")
    return {
        **asdict(spec),
        "class": _class_name(spec.router, gates),
        "code": router_code(spec.router),
        "router_parameters": count_parameters(nn.ModuleList(gates.values())),
        "trained_parameters": trained_parameters,
        "lora_targets": lora_targets(model) if trained_parameters else [],
        "losses": log,
        "perplexity": {"before": before.perplexity, "after": after and after.perplexity},
        "agreement": {"before": before.agreement, "after": after and after.agreement},
        "seconds": earlier + time.perf_counter() - began,
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


def add_lora(model: Any, settings: FinetuneSettings) -> Any:
    """The model in peft's wrapper, with LoRA on its attention's projections and everything else frozen.

    Raises:
        FinetuneError: it has none of those projections.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora_targets(model)
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


def lora_targets(model: nn.Module) -> list[str]:
    """The names of `LORA_TARGETS` that a model has."""
    names = {path.rpartition(".")[2] for path, _ in model.named_modules() if "." in path}
    return [name for name in LORA_TARGETS if name in names]


def train(
    peft_model: Any,
    gates: Mapping[str, nn.Module],
    balance: LoadBalance,
    language_model: LanguageModel,
    spec: RunSpec,
    data: FinetuneData,
    folder: Path,
) -> tuple[list[dict[str, float]], float]:
    """Train, with a checkpoint at each entry of the log.

    Returns:
        the log, and the seconds that were spent before a resumption.
    """
    from harness.finetuning.trainer import RouterTrainer, training_arguments
    from harness.finetuning.training_state import mean_of

    settings = data.settings
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    trainer = RouterTrainer(
        balance=balance,
        coefficient=1.0 if balance.balancer.weighs_itself else settings.load_balancing_coefficient,
        identity=data.identity(spec),
        model=peft_model,
        args=training_arguments(settings, spec.seed, folder),
        train_dataset=data.train(language_model),
        data_collator=lambda batch: pad_batch(batch, _padding(peft_model)),
        optimizers=(_optimiser(peft_model, gates, settings), None),
    )
    trainer.train_or_resume(folder)
    every = settings.log_every
    log = [
        {"step": min(start + every, settings.steps)} | mean_of(trainer.steps[start : start + every])
        for start in range(0, settings.steps, every)
    ]
    return log, trainer.earlier_seconds


def _replace(spec: RunSpec, data: FinetuneData, language_model: LanguageModel) -> None:
    if spec.router == STOCK:
        return
    balancer = get_balancer_class(data.settings.balance)
    options: dict[str, Any] = dict(balancer.rule_fields)
    if balancer.slots_for_all:
        options["top_k"] = find_moe_blocks(language_model.model)[0].num_experts
    if spec.initialise == "distilled":
        options["calibration"] = data.calibration(language_model)
    try:
        replace_routers(language_model.model, spec.router, initialise=spec.initialise, **options)
    except (ValueError, TypeError) as error:
        raise FinetuneError(f"{spec.router}: {error}") from None


def _load_balance(spec: RunSpec, settings: FinetuneSettings, gates: Mapping[str, nn.Module], top_k: int) -> LoadBalance:
    """What balances the gates.

    Raises:
        FinetuneError: it cannot.
    """
    options = {"top_k": top_k} if get_balancer_class(settings.balance).slots_for_all else {}
    try:
        return LoadBalance(gates, settings.balance, frozen=spec.router_training != TRAINED, **options)
    except ValueError as error:
        raise FinetuneError(f"{spec.router}, balance {settings.balance}: {error}") from None


def _weights(gates: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """The gates' weights, each once where blocks share a gate."""
    return list({id(weight): weight for gate in gates.values() for weight in gate.parameters()}.values())


def _optimiser(model: nn.Module, gates: Mapping[str, nn.Module], settings: FinetuneSettings) -> torch.optim.Optimizer:
    routers = {id(weight) for weight in _weights(gates)}
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
