"""The plain sentences at the head of a report: what was run, where, on which model, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.format.machine import name_of
from reports.format.numbers import listing
from reports.judging.order import DISTILLED
from reports.overview.trust import missed, percent_range, resolutions_of
from reports.page.parts import notices
from reports.records.fine_tuning import FineTuning
from reports.records.models import model_phrase, model_sentence
from reports.records.record import mapping_in
from reports.records.report_data import ReportData, Source
from reports.records.run import RunRecords


def statement(data: ReportData) -> list[str]:
    """What to know before any number, a paragraph per file of benchmarks, one on fine-tuning, how files were merged."""
    paragraphs = [_of_source(source) for source in data.sources_of(data.measurements)]
    paragraphs += [_of_tuning(data.fine_tuning)] if data.fine_tuning else []
    return [*notices(data), *paragraphs, *data.remarks]


def _of_source(source: Source) -> str:
    run = source.run
    parts = [
        f"{source.file}: preset {source.preset}, on {name_of(source.machine)}, device {run.get('device', 'unknown')}, "
        f"threads {run.get('threads', 'unknown')}, {run.get('dtype', 'unknown dtype')}, {source.date}.",
        _clock(mapping_in(run, "clock")),
        _gpu(mapping_in(run, "conditions")),
        *_models(mapping_in(run, "model"), source.language_model),
        _noise(source),
    ]
    return " ".join(part for part in parts if part)


def _clock(clock: Mapping[str, Any]) -> str:
    if not clock:
        return ""
    timed, called = clock.get("timed", "in a way that is not stated"), clock.get("called", "in one that is not")
    return f"Clock {clock.get('mode')}: calls are made {called} and timed {timed}; L2 cache {clock.get('l2')}."


_GPU_FIGURES = {
    "sm_mhz": ("SM clock", "MHz"),
    "memory_mhz": ("memory clock", "MHz"),
    "temperature_c": ("temperature", "°C"),
    "power_w": ("power", "W"),
}


def _gpu(conditions: Mapping[str, Any]) -> str:
    """The card's clocks before and after the measurement; nothing where there was no card."""
    before, after = (mapping_in(mapping_in(conditions, when), "gpu") for when in ("before", "after"))
    if not before or not after:
        return ""
    figures = [
        f"{label} {_figure(before.get(name))} and {_figure(after.get(name))} {unit}"
        for name, (label, unit) in _GPU_FIGURES.items()
    ]
    reasons = [reason for each in (before, after) for reason in each.get("throttled_by") or []]
    slowed = f"; slowed down by {listing(list(dict.fromkeys(map(str, reasons))))}" if reasons else ""
    return f"The GPU before and after: {', '.join(figures)}{slowed}."


def _figure(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "unknown"


def _models(encoder: Mapping[str, Any], language_model: Mapping[str, Any]) -> list[str]:
    named = {"Model": encoder, "Language model": language_model}
    sentences = [model_sentence(model, called) for called, model in named.items() if model]
    return sentences or ["No pretrained model was used."]


def _of_tuning(tuning: FineTuning) -> str:
    settings, text = tuning.settings, tuning.text
    quick = "A quick run on a subsample, which proves that the parts work and is no result. " if tuning.quick else ""
    calibration = settings.get("calibration_windows")
    distilled = any(variant.initialise == DISTILLED for variant in tuning.variants)
    fitted = (
        f" Distilled starts are fitted on {calibration:,} passages of yet others." if calibration and distilled else ""
    )
    batch = f"{settings['batch_size']} × {settings['gradient_accumulation_steps']}"
    return (
        f"Fine-tuning of {model_phrase(tuning.model)}. {quick}Text: {text['source']}, {text['train_lines']:,} lines to "
        f"train on; perplexity on {text['held_out_windows']:,} passages ({text['held_out_tokens']:,} tokens) of other "
        f"works."
        f"{fitted} {settings['steps']} steps of {batch} lines, "
        f"at most {settings['max_length']} tokens each; LoRA rank {settings['lora_rank']}, dropout "
        f"{settings['lora_dropout']}. "
        f"Learning rates {settings['learning_rate']} (LoRA) and {settings['router_learning_rate']} (router) and LoRA "
        f"alpha {settings['lora_alpha']} are our choice, because the paper's are lost. Load balanced by "
        f"{settings['balance']}, coefficient {settings['load_balancing_coefficient']}; "
        f"device {settings.get('device', 'unknown')}, "
        f"{settings.get('dtype', 'unknown dtype')}, processes {settings['processes']}, threads "
        f"{settings.get('threads', 'unknown')}."
    )


def _noise(source: Source) -> str:
    """From which difference on a group's intervals can tell two routers apart, scenario by scenario."""
    noise = source.records.noise
    if not noise:
        return "The file states no noise floor."
    told = [f"{label.lower()} {percent_range(found)}" for label, found in resolutions_of(source).items()]
    return (
        f"Differences that can be told apart (found four times in five), by scenario: {'; '.join(told)}. Of "
        f"{len(noise)} self-comparisons of a baseline, {missed(noise)} missed 1 with the 95 % interval."
    )


def provenance(data: ReportData) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every field of every file's `study` and machine, flat, for the end of the page."""
    return [
        (
            source.file,
            [("date", source.date), *_flat("study", _without_records(source.run)), *_flat("machine", source.machine)],
        )
        for source in data.sources
    ]


def _without_records(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in RunRecords.model_fields}


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(f"{path}.{key}", item)]
    if isinstance(value, list):
        return [(path, listing([str(item) for item in value]))]
    return [(path, "–" if value is None else str(value))]


def input_sources(data: ReportData) -> list[tuple[str, str]]:
    """The inputs measured, each with its line in words."""
    return [(name, data.inputs[name].description) for name in dict.fromkeys(entry.input for entry in data.entries)]
