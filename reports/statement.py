"""The plain sentences at the head of a report: what was run, where, on which model, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.sections import Section
from reports.show import listing
from reports.study import Source, Study


def statement(study: Study) -> list[str]:
    """One paragraph per file that still contributes, then how files were merged."""
    contributing = sorted({entry.source for entry in study.entries})
    return [*(_of_source(study.sources[index]) for index in contributing), *study.remarks]


def findings(sections: list[Section]) -> list[str]:
    """What the tables conclude, in page order."""
    return [finding for section in sections for finding in section.findings]


def _of_source(source: Source) -> str:
    run = source.run
    preset = _mapping(run.get("preset")).get("name", run.get("preset", "unknown"))
    parts = [
        f"{source.file}: preset {preset}, on {_machine(source.machine)}, device {run.get('device', 'unknown')}, "
        f"threads {run.get('threads', 'unknown')}, {run.get('dtype', 'unknown dtype')}, {source.date}.",
        _model(_mapping(run.get("model"))),
        _noise(_mapping(run.get("noise"))),
    ]
    return " ".join(part for part in parts if part)


def _machine(machine: Mapping[str, Any]) -> str:
    cpu = _mapping(machine.get("cpu"))
    name = cpu.get("brand_raw") or machine.get("processor") or machine.get("machine") or "an unknown machine"
    cores = cpu.get("count")
    processor = f"{name} ({cores} cores)" if cores else str(name)
    return f"{machine['gpu']} beside {processor}" if machine.get("gpu") else processor


def _model(model: Mapping[str, Any]) -> str:
    if not model:
        return "No pretrained model was used."
    sentence = f"Model: {model.get('name', 'unknown')}"
    requested = model.get("requested")
    if requested and requested != model.get("name"):
        sentence += f" (asked for: {requested})"
    note = str(model.get("note") or "").rstrip(".")
    return f"{sentence}: {note}." if note else f"{sentence}."


def _noise(noise: Mapping[str, Any]) -> str:
    worst = noise.get("worst")
    if not isinstance(worst, int | float):
        return "The file states no noise floor."
    return (
        f"Noise floor: the baseline against itself differed by {100 * worst:.1f} % at worst, over "
        f"{noise.get('groups')} groups; smaller differences between routers mean nothing."
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def provenance(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every field of every file's `study` and machine, flat, for the end of the page."""
    return [
        (source.file, [("date", source.date), *_flat("study", source.run), *_flat("machine", source.machine)])
        for source in study.sources
    ]


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(f"{path}.{key}", item)]
    if isinstance(value, list):
        return [(path, listing([str(item) for item in value]))]
    return [(path, "–" if value is None else str(value))]


def input_sources(study: Study) -> list[tuple[str, str]]:
    """The inputs measured, each with its line in words."""
    return list({entry.input: entry.input_source for entry in study.entries}.items())
