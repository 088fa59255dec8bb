"""Reads files into a `Study`, and refuses what is not one of ours, in a line that names the file and the reason.

Several files are one study, of benchmarks and of fine-tuning in any order: where two hold the same measurement or run,
the later file wins and the report says so. Files of different schema are refused, and so are two language models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.loading.document import BENCHMARKS, FINE_TUNING, about, expect_schema, is_kind, read_document, what_it_is
from reports.loading.entries import SCHEMA, read_entry
from reports.loading.fine_tuning_file import SAME_MODEL_BESIDES, Part, differing_field, merge, read_fine_tuning
from reports.loading.node import Node
from reports.records.study import Entry, LanguageEntry, Measurement, Source, Study


def load_study(paths: Sequence[Path]) -> Study:
    """Reads files of both kinds, or raises `ReportError` about the first that cannot be read."""
    documents = [(path, _read(path)) for path in paths]
    tuned = [(path, document) for path, document in documents if is_kind(document, FINE_TUNING)]
    study = _benchmarks([(path, document) for path, document in documents if not is_kind(document, FINE_TUNING)])
    parts, sources = [], []
    for path, document in tuned:
        with about(path):
            parts.append(Part(path, read_fine_tuning(document)))
            sources.append(_tuning_source(path, document))
    fine_tuning, remarks = merge(parts)
    return Study(
        sources=(*study.sources, *sources),
        entries=study.entries,
        remarks=(*study.remarks, *remarks),
        language=study.language,
        fine_tuning=fine_tuning,
    )


def load_benchmarks(path: Path) -> Study:
    """Reads one file of benchmarks; a fine-tuning is refused like any other file."""
    return _benchmarks([(path, _read(path))])


def _read(path: Path) -> Node:
    with about(path):
        return read_document(path)


def _benchmarks(documents: Sequence[tuple[Path, Node]]) -> Study:
    sources: list[Source] = []
    kept: dict[tuple[str, ...], Measurement] = {}
    remarks: list[str] = []
    for index, (path, document) in enumerate(documents):
        with about(path):
            source, measurements = _read_file(path, document, index)
            sources.append(source)
            _expect_one_model(sources, [*kept.values(), *measurements])
        replaced = sum(measurement.key in kept for measurement in measurements)
        if replaced:
            remarks.append(
                f"{path.name} comes later and holds {replaced} measurement(s) that an earlier file holds too: the "
                "later ones are shown. Ratios and noise floors remain those of the run that measured them."
            )
        kept.update((measurement.key, measurement) for measurement in measurements)
    return Study(
        sources=tuple(sources),
        entries=tuple(each for each in kept.values() if isinstance(each, Entry)),
        remarks=tuple(remarks),
        language=tuple(each for each in kept.values() if isinstance(each, LanguageEntry)),
    )


def _read_file(path: Path, document: Node, index: int) -> tuple[Source, list[Measurement]]:
    kind = what_it_is(document)
    if kind not in (None, BENCHMARKS):
        raise ReportError(f"is {kind}, not {BENCHMARKS}")
    if not isinstance(document.value, dict) or "benchmarks" not in document.value:
        raise ReportError("not a pytest-benchmark file: no object with a list of benchmarks")
    if "study" not in document.value:
        raise ReportError("not a file of this suite: it has no “study” (was it made by `pytest bench`?)")
    expect_schema(document["study"], SCHEMA)
    measurements = [read_entry(benchmark["extra_info"], index) for benchmark in document["benchmarks"]]
    if not measurements:
        raise ReportError("holds no benchmark")
    seen: set[tuple[str, ...]] = set()
    for measurement in measurements:
        if measurement.key in seen:
            raise ReportError(f"holds {' / '.join(measurement.key)} twice")
        seen.add(measurement.key)
    return _source(path, document, document["study"].fields(), "datetime"), measurements


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


def _tuning_source(path: Path, document: Node) -> Source:
    shown = ("model", "text", "settings", "versions", "original")
    return _source(path, document, {name: document.fields().get(name) for name in shown}, "date", "machine")


def _source(
    path: Path, document: Node, run: Mapping[str, Any], date_field: str, machine_field: str = "machine_info"
) -> Source:
    machine, date, commit = (document.get(field) for field in (machine_field, date_field, "commit_info"))
    return Source(
        file=str(path),
        run=run,
        machine=machine.fields() if machine else {},
        date=date.text() if date else "unknown",
        commit=commit.fields() if commit else {},
    )
