"""Reads a file of fine-tuning, and makes one of several that trained the same model in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.loading.document import FINE_TUNING, expect_kind
from reports.loading.node import Node
from reports.records.fine_tuning import FROZEN, TRAINED, UNTRAINED, Around, FineTuning, Log, Run

SCHEMA = 1
_TRAININGS = (TRAINED, FROZEN, UNTRAINED)
_COUNTS = ("steps", "batch_size", "gradient_accumulation_steps", "max_length", "lora_rank", "log_every", "processes")
_NUMBERS = ("learning_rate", "router_learning_rate", "lora_alpha", "lora_dropout", "load_balancing_coefficient")


@dataclass(frozen=True)
class Part:
    """One file's share: which it is, and what it trained."""

    path: Path
    tuning: FineTuning


def read_fine_tuning(document: Node) -> FineTuning:
    """The fine-tuning that a document holds; the complaint about a wrong field names its path."""
    expect_kind(document, FINE_TUNING, SCHEMA)
    original = document["original"].get("perplexity")
    perplexity = original.positive() if original else None
    runs = tuple(_run(node, perplexity) for node in document["runs"])
    if not runs:
        raise document["runs"].fault("holds no run")
    seen: set[tuple[str, str, int, str]] = set()
    for run in runs:
        if run.key in seen:
            raise ReportError(f"holds {_named(run)} twice")
        seen.add(run.key)
    return FineTuning(_model(document["model"]), _text(document["text"]), _settings(document["settings"]), runs)


def merge(parts: Sequence[Part]) -> tuple[FineTuning | None, list[str]]:
    """All files as one, and a remark for each that replaces runs of an earlier one; None where there is no file.

    A table may not mix models or settings: a file that differs from the first in either is refused.
    """
    kept: dict[tuple[str, str, int, str], Run] = {}
    remarks = []
    for part in parts:
        _expect_same(parts[0], part)
        replaced = sum(run.key in kept for run in part.tuning.runs)
        if replaced:
            remarks.append(
                f"{part.path.name} comes later and holds {replaced} fine-tuning run(s) that an earlier file holds "
                "too: the later ones are shown."
            )
        for run in part.tuning.runs:
            # Taken out first: a run of a later file stands among those of that file.
            kept.pop(run.key, None)
            kept[run.key] = run
    if not parts:
        return None, []
    first = parts[0].tuning
    return FineTuning(first.model, first.text, first.settings, tuple(kept.values())), remarks


def differing_field(first: Mapping[str, Any], second: Mapping[str, Any], besides: Sequence[str] = ()) -> str | None:
    """The first field in which two objects differ."""
    fields = [field for field in dict.fromkeys([*first, *second]) if field not in besides]
    return next((field for field in fields if first.get(field) != second.get(field)), None)


# How a model was asked for, and what is said about it, make it no other model.
SAME_MODEL_BESIDES = ("requested", "note")


def _expect_same(first: Part, part: Part) -> None:
    for name, besides in (("model", SAME_MODEL_BESIDES), ("text", ()), ("settings", ())):
        old, new = getattr(first.tuning, name), getattr(part.tuning, name)
        field = differing_field(old, new, besides)
        if field:
            raise ReportError(
                f"{part.path}: {name}.{field} is {new.get(field)!r}, and {old.get(field)!r} in {first.path}: a table "
                "may not mix the two; make a report of each"
            )


def _model(node: Node) -> dict[str, Any]:
    node["name"].text()
    note = node.get("note")
    if note:
        note.text()
    return node.fields()


def _text(node: Node) -> dict[str, Any]:
    node["source"].text()
    for name in ("train_lines", "held_out_windows", "held_out_tokens"):
        node[name].count()
    return node.fields()


def _settings(node: Node) -> dict[str, Any]:
    for name in _COUNTS:
        node[name].count()
    for name in _NUMBERS:
        node[name].optional()
    calibration = node.get("calibration_windows")
    if calibration:
        calibration.count()
    node["quick"].flag()
    return node.fields()


def _run(node: Node, original: float | None) -> Run:
    training = node["router_training"]
    if training.text() not in _TRAININGS:
        raise training.fault(f"is {training.value!r}, none of {', '.join(_TRAININGS)}")
    seconds = node.get("seconds")
    return Run(
        router=node["router"].text(),
        initialise=node["initialise"].text(),
        seed=node["seed"].count(),
        router_training=training.text(),
        router_parameters=node["router_parameters"].count(),
        trained_parameters=node["trained_parameters"].count(),
        log=_log(node["losses"]),
        perplexity=_around(node["perplexity"], Node.positive),
        agreement=_around(node["agreement"], Node.share),
        seconds=seconds.positive() if seconds else None,
        original=original,
    )


def _log(node: Node) -> tuple[Log, ...]:
    logs: list[Log] = []
    for entry in node:
        step = entry["step"].count()
        if logs and step <= logs[-1].step:
            raise entry["step"].fault(f"is {step}, not after {logs[-1].step}")
        logs.append(
            Log(
                step=step,
                loss=entry["loss"].optional(),
                load_balancing_loss=_number(entry, "load_balancing_loss"),
                max_violation=_number(entry, "max_violation"),
                load_cv=_number(entry, "load_cv"),
            )
        )
    return tuple(logs)


def _number(node: Node, field: str) -> float | None:
    value = node.get(field)
    return value.number() if value else None


def _around(node: Node, read: Callable[[Node], float]) -> Around:
    before, after = node.get("before"), node.get("after")
    return Around(read(before) if before else None, read(after) if after else None)


def _named(run: Run) -> str:
    return f"{run.router} / {run.initialise} / seed {run.seed} / {run.router_training}"
