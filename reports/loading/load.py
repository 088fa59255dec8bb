"""Reads files into `ReportData`, and refuses what is not one of ours, in a line that names the file and the reason.

Several files make one report, of benchmarks and of fine-tuning in any order: where two hold the same measurement or
run, the later file wins and the report says so; on another machine, or in another setting, it is not the same
measurement. Files of another schema are refused, and so are two language models.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.format.machine import unlike_conditions
from reports.loading.check import check, excerpt
from reports.loading.document import BENCHMARKS, FINE_TUNING, about, expect_schema, is_kind, read_document, what_it_is
from reports.loading.fine_tuning_file import (
    SAME_MODEL_BESIDES,
    FineTuningFile,
    differing_field,
    merge,
    read_fine_tuning,
)
from reports.records.measurements import LANGUAGE_MODEL, Entry, LanguageEntry, Measurement
from reports.records.peers import PEER, PeerEntry
from reports.records.record import mapping_in
from reports.records.report_data import ReportData, Source
from reports.records.rules import other_than, outside
from reports.records.run import RunRecords
from reports.records.timing import Timing

SCHEMA = 3
METRIC_ROUNDING = 1e-5
"""Of a metric that torch has computed in float32 over thousands of tokens."""
_ENTRIES: dict[str | None, type[Measurement]] = {None: Entry, LANGUAGE_MODEL: LanguageEntry, PEER: PeerEntry}
"""By an entry's `subject`; one that names none is a router's."""


def load_report_data(paths: Sequence[Path]) -> ReportData:
    """Reads files of both kinds, or raises `ReportError` about the first that cannot be read."""
    documents = [(path, _read(path)) for path in paths]
    tuned = [(path, document) for path, document in documents if is_kind(document, FINE_TUNING)]
    data = _benchmarks([(path, document) for path, document in documents if not is_kind(document, FINE_TUNING)])
    files, sources = [], []
    for path, document in tuned:
        with about(path):
            files.append(FineTuningFile(path, read_fine_tuning(document)))
            sources.append(_tuning_source(path, document))
    fine_tuning, remarks = merge(files)
    return ReportData(
        sources=(*data.sources, *sources),
        entries=data.entries,
        remarks=(*data.remarks, *remarks),
        language=data.language,
        peers=data.peers,
        fine_tuning=fine_tuning,
    )


def load_benchmarks(path: Path) -> ReportData:
    """Reads one file of benchmarks; a fine-tuning is refused like any other file."""
    return _benchmarks([(path, _read(path))])


def _read(path: Path) -> Any:
    with about(path):
        return read_document(path)


def _benchmarks(documents: Sequence[tuple[Path, Any]]) -> ReportData:
    sources: list[Source] = []
    kept: dict[tuple[int, tuple[str, ...]], Measurement] = {}
    remarks: list[str] = []
    for index, (path, document) in enumerate(documents):
        with about(path):
            source, measurements = _read_file(path, document, index)
            alike = (number for number, other in enumerate(sources) if not unlike_conditions(other, source))
            sources.append(replace(source, measured=len(measurements), conditions=next(alike, index)))
            _expect_one_model(sources, [*kept.values(), *measurements])
        # Measurements of another machine are others: their times stand beside these.
        place = sources[-1].conditions
        replaced = sum((place, measurement.key) in kept for measurement in measurements)
        if replaced:
            remarks.append(
                f"{path.name} comes later and holds {replaced} measurement(s) that an earlier file holds too: the "
                "later ones are shown. Ratios and noise floors remain those of the run that measured them."
            )
        kept.update(((place, measurement.key), measurement) for measurement in measurements)
    return ReportData(
        sources=tuple(sources),
        entries=tuple(each for each in kept.values() if isinstance(each, Entry)),
        remarks=tuple(remarks),
        language=tuple(each for each in kept.values() if isinstance(each, LanguageEntry)),
        peers=tuple(each for each in kept.values() if isinstance(each, PeerEntry)),
    )


def _read_file(path: Path, document: Any, index: int) -> tuple[Source, list[Measurement]]:
    kind = what_it_is(document)
    if kind not in (None, BENCHMARKS):
        raise ReportError(f"is {kind}, not {BENCHMARKS}")
    if not isinstance(document, dict) or "benchmarks" not in document:
        raise ReportError("not a pytest-benchmark file: no object with a list of benchmarks")
    if "study" not in document:
        raise ReportError("not a file of this suite: it has no “study” (was it made by `pytest bench`?)")
    study, benchmarks = document["study"], document["benchmarks"]
    if not isinstance(study, dict):
        raise ReportError(f"study is not an object: {excerpt(study)}")
    expect_schema(study, SCHEMA, "study.")
    records = check(RunRecords, study, "study")
    if not isinstance(benchmarks, list):
        raise ReportError(f"benchmarks is not a list: {excerpt(benchmarks)}")
    measurements = [_measurement(benchmark, f"benchmarks[{i}]", index) for i, benchmark in enumerate(benchmarks)]
    baselines = {
        measurement.group: measurement.timing.us_per_call
        for measurement in measurements
        if measurement.router == measurement.timing.baseline
    }
    for i, measurement in enumerate(measurements):
        where = f"benchmarks[{i}].extra_info"
        _expect_records(measurement, records, where)
        baseline_us = baselines.get(measurement.group)
        for words in _contradictions(measurement, study, records, baseline_us):
            if words:
                raise ReportError(f"{where}.{words}")
    if not measurements:
        raise ReportError("holds no benchmark")
    if records.planned is not None and records.planned < len(measurements):
        raise ReportError(f"holds {len(measurements)} benchmarks, more than study.planned, {records.planned}")
    seen: set[tuple[str, ...]] = set()
    for measurement in measurements:
        if measurement.key in seen:
            raise ReportError(f"holds {' / '.join(measurement.key)} twice")
        seen.add(measurement.key)
    return _source(path, document, study, records, "datetime", "machine_info"), measurements


def _measurement(benchmark: Any, where: str, source: int) -> Measurement:
    if not isinstance(benchmark, dict) or "extra_info" not in benchmark:
        raise ReportError(f"{where} has no field 'extra_info'")
    info = benchmark["extra_info"]
    subject = info.get("subject") if isinstance(info, dict) else None
    if isinstance(subject, list | dict) or subject not in _ENTRIES:
        raise ReportError(
            f"{where}.extra_info.subject is {excerpt(subject)}; this version reads {LANGUAGE_MODEL!r}, {PEER!r}, or no "
            "subject"
        )
    measurement = check(_ENTRIES[subject], info, f"{where}.extra_info")
    rounds = _durations(benchmark, measurement.timing, where)
    return measurement.model_copy(update={"source": source, "durations": rounds})


def _durations(benchmark: Mapping[str, Any], timing: Timing, where: str) -> tuple[tuple[float, ...], ...]:
    """µs round by round of each process, from pytest-benchmark's data; empty where it has not kept all of them."""
    data = mapping_in(benchmark, "stats").get("data")
    if not isinstance(data, list) or len(data) != timing.repetitions * timing.rounds:
        return ()
    for place, seconds in enumerate(data):
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
            raise ReportError(f"{where}.stats.data[{place}] is {excerpt(seconds)}, not a duration in seconds above 0")
    blocks = range(0, len(data), timing.rounds)
    return tuple(tuple(1e6 * seconds for seconds in data[block : block + timing.rounds]) for block in blocks)


def _expect_records(measurement: Measurement, records: RunRecords, where: str) -> None:
    """Refuses a measurement of a scenario or an input that the file does not describe."""
    scenario, subject = measurement.scenario, measurement.subject
    if scenario not in records.scenarios or records.scenarios[scenario].subject != subject:
        raise ReportError(f"{where}.scenario is {excerpt(scenario)}, no {subject} scenario of study.scenarios")
    if unknown := [name for name in measurement.metric_stats if name not in records.metrics]:
        raise ReportError(f"{where}.behaviour.metrics has {excerpt(unknown[0])}, none of study.metrics")
    if unknown := [name for name in _precisions_of(measurement) if name not in records.precisions]:
        raise ReportError(f"{where}.behaviour.precision has {excerpt(unknown[0])}, none of study.precisions")
    if isinstance(measurement, Entry) and measurement.input not in records.inputs:
        raise ReportError(f"{where}.input is {excerpt(measurement.input)}, none of study.inputs")
    if isinstance(measurement, PeerEntry):
        _expect_work(measurement, records, where)


def _expect_work(measurement: PeerEntry, records: RunRecords, where: str) -> None:
    """Refuses a peer at a work that the file does not describe, or that was both measured and left out."""
    work = records.peers.works.get(measurement.work)
    if work is None:
        raise ReportError(f"{where}.work is {excerpt(measurement.work)}, none of study.peers.works")
    if measurement.mode != work.mode:
        raise ReportError(f"{where}.mode is {excerpt(measurement.mode)}, and {excerpt(work.mode)} in study.peers.works")
    if any((each.input, each.peer) == (measurement.input, measurement.router) for each in records.peers.left_out):
        raise ReportError(
            f"{where}.router is {excerpt(measurement.router)}, which study.peers.left_out has at this work"
        )


def _precisions_of(measurement: Measurement) -> list[str]:
    found = measurement.precision
    return [] if found is None else [*found.compared, *(name for layer in found.layers.values() for name in layer)]


def _contradictions(
    measurement: Measurement, study: Mapping[str, Any], records: RunRecords, baseline_us: float | None
) -> Iterator[str | None]:
    """The rules between a benchmark and the rest of its file, in the form of a record's."""
    timing = measurement.timing
    if baseline_us:
        times, what = timing.us_per_call / baseline_us, "us_per_call over the baseline's"
        yield other_than("timing.ratio.estimate", timing.ratio.estimate, times, what)
    for noise in records.noise:
        if (noise.scenario, noise.input) == measurement.group:
            stated = noise.noise_floor.estimate
            yield other_than("timing.noise_floor.estimate", timing.noise_floor.estimate, stated, "study.noise's")
            yield other_than("timing.resolution", timing.resolution, noise.resolution, "study.noise's")
    for name, stat in measurement.metric_stats.items():
        low, high = records.metrics[name].bounds(measurement.num_experts)
        for place, value in enumerate(stat.values):
            path, between = f"behaviour.metrics.{name}.values[{place}]", f"its range [{low}, {high}]"
            yield outside(path, value, low, high, between, METRIC_ROUNDING)
    for name in ("device", "threads"):
        said, here = study.get(name), measurement.setting[name]
        if None not in (said, here) and said != here:
            yield f"{name} is {excerpt(here)}, and study.{name} is {excerpt(said)}"
    clock = mapping_in(study, "clock")
    for name, said, here in (("clock_mode", clock.get("mode"), timing.clock_mode), ("l2", clock.get("l2"), timing.l2)):
        if None not in (said, here) and said != here:
            yield f"timing.{name} is {excerpt(here)}, and study.clock has {excerpt(said)}"
    if isinstance(measurement, LanguageEntry):
        model = mapping_in(study, "language_model")
        for name in ("hidden_size", "num_experts", "top_k"):
            said = model.get(name)
            what = f"study.language_model.{name}"
            if isinstance(said, int):
                yield other_than(name, getattr(measurement, name), said, what, tolerance=0)


def _expect_one_model(sources: Sequence[Source], measurements: Sequence[Measurement]) -> None:
    """Refuses the newest file where its benchmarks inside a language model would stand beside another model's."""
    indices = sorted({each.source for each in measurements if isinstance(each, LanguageEntry)})
    first, last = sources[indices[0]] if indices else None, sources[-1]
    if first is None or first is last or indices[-1] != len(sources) - 1:
        return
    old, new = first.language_model, last.language_model
    field = differing_field(old, new, SAME_MODEL_BESIDES)
    if field:
        raise ReportError(
            f"study.language_model.{field} is {new.get(field)!r}, and {old.get(field)!r} in {first.file}: a table may "
            "not mix the two; make a report of each"
        )


def _tuning_source(path: Path, document: Mapping[str, Any]) -> Source:
    shown = {name: document.get(name) for name in ("model", "text", "settings", "versions", "original")}
    return _source(path, document, shown, RunRecords(), "date", "machine")


def _source(
    path: Path, document: Mapping[str, Any], run: Mapping[str, Any], records: RunRecords, date: str, machine: str
) -> Source:
    """A file's source; what is not of the expected type is refused."""
    fields = {"machine": document.get(machine), "commit": document.get("commit_info")}
    for name, field in (("machine", machine), ("commit", "commit_info")):
        if not isinstance(fields[name], dict | None):
            raise ReportError(f"{field} is not an object: {excerpt(fields[name])}")
    said = document.get(date)
    if not isinstance(said, str | None):
        raise ReportError(f"{date} is not a string: {excerpt(said)}")
    return Source(
        file=os.fsencode(path).decode(errors="replace"),  # a page is UTF-8, a file's name need not be
        run=run,
        records=records,
        machine=fields["machine"] or {},
        date=said or "unknown",
        commit=fields["commit"] or {},
    )
