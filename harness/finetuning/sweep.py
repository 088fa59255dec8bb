"""All runs of a fine-tuning, one after the other, into one JSON document."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from harness.assets.files import alone_in
from harness.finetuning.checkpoints import checksum, write_json
from harness.finetuning.data import FinetuneData, router_code
from harness.finetuning.processes import is_main_process, launched_processes
from harness.finetuning.run import moe_blocks, run
from harness.finetuning.settings import FinetuneError, RunSpec, training_precision
from harness.language_models.load import load_language_model
from harness.text.perplexity import perplexity
from routers.parameters import count_parameters

KIND, SCHEMA = "fine-tuning", 1
RESULT, HEAD, RUN = "finetune.json", "head.json", "run.json"
CHECKSUM = "checksum"
_COMPARED = ("kind", "schema", "model", "model_files", "text", "settings", "versions")
"""The fields that are the same in all runs of a folder; the machine, and a perplexity's last digit, may change."""
_HOW_IT_WAS_NAMED = ("model.requested", "model.source", "model.name", "model.note")


@contextmanager
def open_folder(folder: Path, *, resume: bool) -> Iterator[None]:
    """Make the folder of the runs and hold it, and refuse one that cannot take them before anything is loaded for them.

    Raises:
        FinetuneError: it cannot be written, another fine-tuning is writing it, or it has runs and `resume` is False.
    """
    with ExitStack() as held:
        if is_main_process():
            try:
                held.enter_context(alone_in(folder, wait=False))
                tempfile.TemporaryFile(dir=folder).close()
            except BlockingIOError:
                raise FinetuneError(
                    f"{folder}: another fine-tuning is writing it; wait, or name another folder with -o"
                ) from None
            except OSError as error:
                raise FinetuneError(f"{folder}: cannot be written: {error.strerror}") from None
            if (folder / "runs").is_dir() and not resume:
                raise FinetuneError(f"{folder}: has runs already; --resume goes on with them, -o names another folder")
        yield


class Sweep:
    """Runs in a folder: `runs/<name>/` each, `finetune.json` all that are finished.

    Of several processes the main one looks after the folder; where it refuses, their launcher stops the others.

    Args:
        data: what all runs share.
        folder: where; `open_folder` has made it.

    Raises:
        FinetuneError: the folder has runs of other settings.
    """

    def __init__(self, data: FinetuneData, folder: Path) -> None:
        self.data = data
        self.folder = folder
        self.head = self._head()
        if not is_main_process():
            return
        head = self.head | {"model_files": data.asset.identity()}
        if (folder / "runs").is_dir():
            self._expect_same(head, _read(folder / HEAD, "not written by a fine-tuning"))
        write_json(folder / HEAD, head)

    def done(self, spec: RunSpec) -> dict[str, Any] | None:
        """The finished run, or None.

        Raises:
            FinetuneError: its file cannot be read, was edited, or is that of another router of the same name.
        """
        path = self._folder(spec) / RUN
        if not path.is_file():
            return None
        entry = _read(path, "not the file of this run")
        expected = asdict(spec) | {"code": router_code(spec.router)}
        if differing := sorted(name for name in expected if entry.get(name) != expected[name]):
            raise FinetuneError(f"{path}: another run's (different: {', '.join(differing)}); remove it to run again")
        return _verified(path, entry)

    def carry_out(self, spec: RunSpec) -> dict[str, Any]:
        """Run, or go on with, a spec; its checkpoints are removed when its result is on the disk."""
        folder = self._folder(spec)
        entry = run(spec, self.data, folder)
        if is_main_process():
            write_json(folder / RUN, entry | {CHECKSUM: checksum(entry)})
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        return entry

    def write(self) -> Path:
        """Write the document with every run that is finished, those of earlier commands too."""
        if is_main_process():
            paths = self.folder.glob(f"runs/*/{RUN}")
            runs = [_verified(path, _read(path, "not the file of a run", _ORDER)) for path in paths]
            runs.sort(key=lambda entry: tuple(entry[name] for name in _ORDER))
            write_json(self.folder / RESULT, self.head | {"runs": runs})
        return self.folder / RESULT

    def _expect_same(self, head: dict[str, Any], earlier: dict[str, Any]) -> None:
        here, there = _flat(head), _flat(earlier)
        names = sorted(name for name in here | there if here.get(name) != there.get(name))
        if differing := [name for name in names if name not in _HOW_IT_WAS_NAMED]:
            raise FinetuneError(f"{self.folder}: its runs were made otherwise (different: {', '.join(differing)})")

    def _folder(self, spec: RunSpec) -> Path:
        return self.folder / "runs" / spec.name

    def _head(self) -> dict[str, Any]:
        language_model = load_language_model(self.data.asset)
        passages, settings = self.data.passages, self.data.settings
        model: Any = language_model.model
        model.to(settings.device)
        blocks = moe_blocks(self.data.asset, model)
        held_out = self.data.held_out(language_model)
        asset = self.data.asset
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {
                **{name: getattr(asset, name) for name in ("name", "requested", "source", "sha256", "note")},
                "model_type": model.config.model_type,
                "parameters": count_parameters(model),
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
                "precision": training_precision(settings.device),
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


_ORDER = ("seed", "router_training", "initialise", "router")


def _read(path: Path, otherwise: str, fields: Iterable[str] = ()) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
        if missing := [name for name in fields if name not in content]:
            raise ValueError(f"without {', '.join(missing)}")
    except (OSError, ValueError, RecursionError) as error:
        raise FinetuneError(f"{path}: {otherwise} ({error}); remove it to start anew") from None
    return content


def _verified(path: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """A finished run as it was written, without its checksum, which does not make figures what they can be."""
    content = {name: value for name, value in entry.items() if name != CHECKSUM}
    remedy = "remove it to run again"
    if entry.get(CHECKSUM) != checksum(content):
        raise FinetuneError(f"{path}: edited or damaged, its checksum is not that of its content; {remedy}")
    try:
        perplexities = [content["perplexity"]["before"], content["perplexity"]["after"]]
        figures = [content["seconds"], *(value for step in content["losses"] for value in step.values())]
        possible = all(value >= 1 for value in perplexities if value is not None) and all(map(math.isfinite, figures))
        keys = all(step.keys() >= {"step", "loss"} for step in content["losses"])
    except (KeyError, TypeError, AttributeError):
        possible = keys = False
    if not possible or not keys or perplexities[0] is None:
        raise FinetuneError(f"{path}: holds no perplexities of 1 or more and finite losses; {remedy}")
    return content


def _flat(head: dict[str, Any]) -> dict[str, Any]:
    """The compared fields, by their paths."""
    flat: dict[str, Any] = {}
    for name in _COMPARED:
        part = head.get(name)
        flat |= {f"{name}.{key}": value for key, value in part.items()} if isinstance(part, dict) else {name: part}
    return flat
