"""Reads a file of fine-tuning, and makes one of several that trained the same model in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from reports.errors import ReportError
from reports.loading.check import check
from reports.loading.document import FINE_TUNING, expect_kind
from reports.records.fine_tuning import FineTuning, Perplexity, Run
from reports.records.record import Amount, Count, Flag, Name, Number, Record, Size, Text
from reports.records.rules import above

SCHEMA = 1
SWITCH = "switch"
"""What balanced the load of experts before there was a choice."""


class _Shown(Record):
    """Fields that are checked here; the object is kept whole, for it is shown as it is."""

    model_config = ConfigDict(extra="allow")


class TunedModel(_Shown):
    """The model that was trained."""

    name: Name
    note: Text | None = None
    hidden_size: Size | None = None
    num_experts: Size | None = None
    top_k: Size | None = None

    def contradictions(self) -> Iterator[str | None]:
        """No more experts are selected than there are."""
        yield above("top_k", self.top_k, self.num_experts, "num_experts")


class TunedText(_Shown):
    """What it was trained and evaluated on."""

    source: Text
    train_lines: Count
    held_out_windows: Count
    held_out_tokens: Count


class TunedSettings(_Shown):
    """How it was trained."""

    steps: Count
    batch_size: Size
    gradient_accumulation_steps: Size
    max_length: Size
    lora_rank: Size
    log_every: Size
    processes: Size
    learning_rate: Amount | None
    router_learning_rate: Amount | None
    lora_alpha: Number | None
    lora_dropout: Amount | None
    balance: Name = SWITCH
    load_balancing_coefficient: Number | None
    calibration_windows: Count | None = None
    quick: Flag


class Original(Record):
    """The model before anything was replaced."""

    perplexity: Perplexity | None = None


class FineTuningDocument(Record):
    """The JSON that `python -m harness finetune` writes."""

    model: TunedModel
    text: TunedText
    settings: TunedSettings
    original: Original
    runs: tuple[Run, ...]

    def contradictions(self) -> Iterator[str | None]:
        """No run has taken more steps than the settings say."""
        for index, run in enumerate(self.runs):
            for place, log in enumerate(run.log):
                yield above(f"runs[{index}].losses[{place}].step", log.step, self.settings.steps, "settings.steps")

    @field_validator("runs")
    @classmethod
    def _holds_runs(cls, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        if not runs:
            raise PydanticCustomError("empty", "holds no run")
        return runs


@dataclass(frozen=True)
class FineTuningFile:
    """One file's share: which it is, and what it trained."""

    path: Path
    tuning: FineTuning


def read_fine_tuning(document: Any) -> FineTuning:
    """The fine-tuning that a document holds; the complaint about a wrong field names its path."""
    expect_kind(document, FINE_TUNING, SCHEMA)
    found = check(FineTuningDocument, document)
    seen: set[tuple[str, str, int, str]] = set()
    for run in found.runs:
        if run.key in seen:
            raise ReportError(f"holds {_named(run)} twice")
        seen.add(run.key)
    runs = tuple(run.model_copy(update={"original": found.original.perplexity}) for run in found.runs)
    settings = {"balance": SWITCH} | document["settings"]
    return FineTuning(document["model"], document["text"], settings, runs)


def merge(files: Sequence[FineTuningFile]) -> tuple[FineTuning | None, list[str]]:
    """All files as one, and a remark for each that replaces runs of an earlier one; None where there is no file.

    A table may not mix models or settings: a file that differs from the first in either is refused.
    """
    kept: dict[tuple[str, str, int, str], Run] = {}
    remarks = []
    for file in files:
        _expect_same(files[0], file)
        replaced = sum(run.key in kept for run in file.tuning.runs)
        if replaced:
            remarks.append(
                f"{file.path.name} comes later and holds {replaced} fine-tuning run(s) that an earlier file holds "
                "too: the later ones are shown."
            )
        for run in file.tuning.runs:
            # Taken out first: a run of a later file stands among those of that file.
            kept.pop(run.key, None)
            kept[run.key] = run
    if not files:
        return None, []
    first = files[0].tuning
    return FineTuning(first.model, first.text, first.settings, tuple(kept.values())), remarks


def differing_field(first: Mapping[str, Any], second: Mapping[str, Any], besides: Sequence[str] = ()) -> str | None:
    """The first field in which two objects differ."""
    fields = [field for field in dict.fromkeys([*first, *second]) if field not in besides]
    return next((field for field in fields if first.get(field) != second.get(field)), None)


# How a model was asked for, and what is said about it, make it no other model.
SAME_MODEL_BESIDES = ("requested", "note")


def _expect_same(first: FineTuningFile, file: FineTuningFile) -> None:
    for name, besides in (("model", SAME_MODEL_BESIDES), ("text", ()), ("settings", ())):
        old, new = getattr(first.tuning, name), getattr(file.tuning, name)
        field = differing_field(old, new, besides)
        if field:
            raise ReportError(
                f"{file.path}: {name}.{field} is {new.get(field)!r}, and {old.get(field)!r} in {first.path}: a table "
                "may not mix the two; make a report of each"
            )


def _named(run: Run) -> str:
    return f"{run.router} / {run.initialise} / seed {run.seed} / {run.router_training}"
