"""All runs of a fine-tuning, one after the other, into one JSON document."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from harness.finetuning.checkpoints import write_json
from harness.finetuning.processes import is_main_process, launched_processes
from harness.finetuning.run import Material, moe_blocks, run
from harness.finetuning.settings import FinetuneError, Plan
from harness.language_model import load_language_model
from harness.perplexity import perplexity

KIND, SCHEMA = "fine-tuning", 1
RESULT, HEAD, RUN = "finetune.json", "head.json", "run.json"
_VOLATILE = {"date", "machine"}
"""What a continued fine-tuning may find changed."""


class Campaign:
    """Runs in a folder: `runs/<name>/` each, `finetune.json` all that are finished.

    Args:
        material: what all runs share.
        folder: where.
        resume: keep finished runs and go on with unfinished ones.

    Raises:
        FinetuneError: the folder has runs and `resume` is False, or it has runs of other settings.
    """

    def __init__(self, material: Material, folder: Path, *, resume: bool) -> None:
        self.material = material
        self.folder = folder
        self.head = self._head()
        earlier = self._earlier_head()
        if earlier is None:
            if is_main_process():
                write_json(folder / HEAD, self.head)
            return
        if not resume:
            raise FinetuneError(f"{folder}: has runs already; --resume goes on with them, -o names another folder")
        differing = sorted(
            f"{part}.{name}"
            for part in self.head.keys() - _VOLATILE
            if isinstance(self.head[part], dict)
            for name in self.head[part]
            if self.head[part][name] != earlier.get(part, {}).get(name)
        )
        if differing:
            raise FinetuneError(f"{folder}: its runs were made otherwise (different: {', '.join(differing)})")

    def done(self, plan: Plan) -> dict[str, Any] | None:
        """The finished run, or None.

        Raises:
            FinetuneError: its file cannot be read.
        """
        path = self._folder(plan) / RUN
        if not path.is_file():
            return None
        try:
            entry: dict[str, Any] = json.loads(path.read_text())
            if {name: entry[name] for name in asdict(plan)} != asdict(plan):
                raise ValueError("another run's")
        except (ValueError, KeyError, TypeError) as error:
            raise FinetuneError(f"{path}: not the file of this run ({error}); remove it to run again") from None
        return entry

    def carry_out(self, plan: Plan) -> dict[str, Any]:
        """Run, or go on with, a plan; its checkpoints are removed when its result is on the disk."""
        folder = self._folder(plan)
        entry = run(plan, self.material, folder)
        if is_main_process():
            write_json(folder / RUN, entry)
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        return entry

    def write(self, plans: Sequence[Plan]) -> Path:
        """Write the document with those of the plans that are finished."""
        if is_main_process():
            runs = [entry for plan in plans if (entry := self.done(plan)) is not None]
            write_json(self.folder / RESULT, self.head | {"runs": runs})
        return self.folder / RESULT

    def _folder(self, plan: Plan) -> Path:
        return self.folder / "runs" / plan.name

    def _earlier_head(self) -> dict[str, Any] | None:
        path = self.folder / HEAD
        # Of several processes, the others may come after the first has written its own.
        if not path.is_file() or not (self.folder / "runs").is_dir():
            return None
        try:
            head: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise FinetuneError(f"{path}: not written by a fine-tuning ({error})") from None
        return head

    def _head(self) -> dict[str, Any]:
        language_model = load_language_model(self.material.asset)
        passages, settings = self.material.passages, self.material.settings
        model: Any = language_model.model
        model.to(settings.device)
        blocks = moe_blocks(self.material.asset, model)
        held_out = self.material.held_out(language_model)
        asset = self.material.asset
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {
                **{name: getattr(asset, name) for name in ("name", "requested", "source", "sha256", "note")},
                "model_type": model.config.model_type,
                "parameters": sum(weight.numel() for weight in model.parameters()),
                "layers": [block.layer for block in blocks],
                "hidden_size": blocks[0].hidden_size,
                "num_experts": blocks[0].num_experts,
                "top_k": blocks[0].top_k,
            },
            "text": {
                "source": passages.source,
                "sha256": passages.sha256,
                "train_lines": settings.train_lines,
                "held_out_windows": settings.held_out_windows,
                "held_out_tokens": sum(len(line) - 1 for line in held_out),
            },
            "settings": asdict(settings)
            | {
                "processes": launched_processes(),
                "threads": torch.get_num_threads(),
                "dtype": str(model.dtype).removeprefix("torch."),
            },
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("torch", "transformers", "peft")},
            "machine": {
                "platform": platform.platform(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
            },
            "original": {"perplexity": perplexity(model, held_out)},
        }
