"""The command line: python -m harness finetune --router attention --model embedded --steps 50."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import torch

from harness.assets.errors import AssetError
from harness.command_line import most_threads, parse
from harness.finetuning.data import FinetuneData
from harness.finetuning.processes import is_main_process, launched_processes
from harness.finetuning.settings import (
    FROZEN,
    TRAINED,
    UNTRAINED,
    DivergedError,
    FinetuneError,
    FinetuneSettings,
    RunSpec,
    make_run_specs,
)
from harness.finetuning.sweep import Sweep, open_folder
from harness.language_models.load import list_language_models, resolve_language_model
from harness.replacement.initialisers import INITIALISERS
from harness.replacement.moe_blocks import STOCK
from harness.text.passages import load_passages
from routers import get_router_class, list_routers, register_from_path
from routers.balancing import list_balancers

DIVERGED = 1
MISTAKE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
ALL = "all"
QUICK = FinetuneSettings(
    steps=10, log_every=2, train_lines=40, held_out_windows=2, calibration_windows=16, max_length=64, quick=True
)


SETTINGS_HELP = {
    "steps": "steps of the optimiser",
    "batch_size": "lines in a batch, of one process",
    "gradient_accumulation_steps": "batches in a step",
    "max_length": "tokens of a line; what goes beyond is cut off",
    "learning_rate": "of the LoRA weights",
    "router_learning_rate": "of the routers",
    "lora_rank": "r, the rank of LoRA's two factors",
    "lora_alpha": "LoRA's contribution is scaled by alpha / r",
    "lora_dropout": "share of LoRA's inputs that are dropped, from 0 to below 1",
    "balance": f"what evens out the load of the experts: {', '.join(list_balancers())}",
    "load_balancing_coefficient": "weight of the balancing loss; 0 leaves it out; bias and quantile have none, and "
    "relu_l1 weighs itself",
    "max_grad_norm": "gradients are scaled down to this norm; 0 leaves them",
    "log_every": "steps between two entries of the log, and between two checkpoints",
    "train_lines": "lines that are trained on",
    "held_out_windows": "passages of --max-length tokens, of other works, that perplexity is taken on",
    "calibration_windows": "passages of 64 tokens that a distilled start is fitted on",
    "device": "cpu or cuda",
}
"""What the options that set a field of `FinetuneSettings` mean."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fine-tunes; returns the exit code."""
    options = parse(_parser(), sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _finetune(options)
    except (FinetuneError, AssetError) as error:
        print(f"finetune: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("finetune: interrupted; --resume goes on", file=sys.stderr)
        return INTERRUPTED


def _finetune(options: argparse.Namespace) -> int:
    settings = _settings(options)
    starts = options.initialise or ["random"]  # an appending option cannot have it as its default
    specs = make_run_specs(_routers(options.router), starts, range(options.seeds), _trainings(options))
    with open_folder(options.output, resume=options.resume):  # at once: a model may be a download of an hour
        return _carry_out(options, settings, specs)


def _carry_out(options: argparse.Namespace, settings: FinetuneSettings, specs: Sequence[RunSpec]) -> int:
    _use_this_processs_share(options, settings)
    asset = resolve_language_model(options.model)
    sweep = Sweep(FinetuneData(asset, load_passages(), settings), options.output)
    diverged = 0
    for number, spec in enumerate(specs, 1):
        entry = sweep.done(spec)
        if entry is None:
            _say(f"{number}/{len(specs)} {spec.name}")
            try:
                entry = sweep.carry_out(spec)
            except DivergedError as error:
                diverged += 1
                _say(f"finetune: {spec.name}: {error}; it is left out", sys.stderr)
                continue
            sweep.write()
        _say(f"{number}/{len(specs)} {_summary(spec, entry)}")
    _say(f"wrote {sweep.write()}; python -m reports {options.output / 'finetune.json'} shows it")
    return DIVERGED if diverged else 0


def _use_this_processs_share(options: argparse.Namespace, settings: FinetuneSettings) -> None:
    """Threads, and on a GPU machine the one of this process."""
    if options.threads:
        torch.set_num_threads(options.threads)
    elif launched_processes() > 1:
        torch.set_num_threads(1)
    if settings.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _say(line: str, file: TextIO | None = None) -> None:
    if is_main_process():
        print(line, file=file, flush=True)


def _summary(spec: RunSpec, entry: dict[str, Any]) -> str:
    perplexity, losses = entry["perplexity"], entry["losses"]
    figures = [f"held-out perplexity {perplexity['before']:.2f}"]
    if losses:
        figures = [
            f"loss {losses[0]['loss']:.4f} -> {losses[-1]['loss']:.4f}",
            f"held-out perplexity {perplexity['before']:.2f} -> {perplexity['after']:.2f}",
        ]
    return f"{spec.name}: {', '.join(figures)}, {entry['seconds']:.0f} s"


def _settings(options: argparse.Namespace) -> FinetuneSettings:
    given = {field.name: getattr(options, field.name, None) for field in fields(FinetuneSettings)}
    chosen = {name: value for name, value in given.items() if value is not None and name != "quick"}
    settings = replace(QUICK if options.quick else FinetuneSettings(), **chosen)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise FinetuneError("device is cuda, and this machine has none")
    if options.seeds < 1:
        raise FinetuneError(f"seeds is {options.seeds}, expected at least 1")
    if options.threads is not None and not 1 <= options.threads <= most_threads():
        raise FinetuneError(f"threads is {options.threads}, expected 1 to {most_threads()}")
    return settings


def _routers(names: Sequence[str]) -> list[str]:
    """Names and paths as given; `all` stands for the model's own and every registered router."""
    found: list[str] = []
    for name in names:
        try:
            if ":" in name:
                found.append(register_from_path(name))
            elif name == ALL:
                found += [STOCK, *list_routers()]
            else:
                if name != STOCK:
                    get_router_class(name)
                found.append(name)
        except ValueError as error:
            raise FinetuneError(str(error)) from None
    return list(dict.fromkeys(found))


def _trainings(options: argparse.Namespace) -> tuple[str, ...]:
    if options.untrained and options.control:
        raise FinetuneError("--control with --untrained has nothing to compare: nothing is trained")
    if options.untrained:
        return (UNTRAINED,)
    return (TRAINED, FROZEN) if options.control else (TRAINED,)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness finetune",
        description="Fine-tune a Mixture-of-Experts language model with its routers replaced: LoRA on the attention's "
        "projections (q, k, v and o, or what DeepSeek-V3 has in place of the first three; the result names them), the "
        "routers in full. Exit codes: 0 all runs are finished; 1 some diverged and are left out; 2 a mistake, said "
        "in one line; 130 interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    models = ", ".join(list_language_models())
    parser.add_argument(
        "--router",
        action="append",
        required=True,
        help=f"a registered name, {STOCK} (the model's own), {ALL}, package.module:Class or path/to/file.py:Class; "
        "may be repeated",
    )
    parser.add_argument("--model", default="embedded", help=f"{models}, a directory, or a name on the hub")
    parser.add_argument(
        "--initialise",
        action="append",
        choices=sorted(INITIALISERS),
        help="how routers begin (random); may be repeated",
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0")
    parser.add_argument("--control", action="store_true", help="every run again with frozen routers")
    parser.add_argument("--untrained", action="store_true", help="evaluate each start, train nothing")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that everything works")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/finetune"), metavar="DIR", help="where")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in that folder")
    parser.add_argument("--threads", type=int, help="torch's threads; 1 where several processes are launched")
    for field in fields(FinetuneSettings):
        if field.name != "quick":
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=type(field.default),
                default=argparse.SUPPRESS,
                help=f"{SETTINGS_HELP[field.name]} ({field.default})",
            )
    return parser
