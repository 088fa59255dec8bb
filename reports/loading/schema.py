"""The JSON Schema of each kind of file: what this version of the reports reads of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from reports.loading import fine_tuning_file, gate_file, load, self_test
from reports.records.measurements import Entry, LanguageEntry
from reports.records.peers import PeerEntry
from reports.records.record import Record
from reports.records.run import RunRecords


class Benchmark(Record):
    """An entry of pytest-benchmark's list, with what the suite says of it."""

    extra_info: Entry | LanguageEntry | PeerEntry


class BenchmarkFile(Record):
    """What `pytest bench` writes."""

    study: RunRecords
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)


DOCUMENTS: dict[str, tuple[type[BaseModel], int]] = {
    "bench": (BenchmarkFile, load.SCHEMA),
    "finetune": (fine_tuning_file.FineTuningDocument, fine_tuning_file.SCHEMA),
    "gate": (gate_file.GateDocument, gate_file.SCHEMA),
    "self-test": (self_test.SelfTest, self_test.SCHEMA),
}
"""Kind of file -> the record of its document, and its schema number."""


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file, draft 2020-12; fields that it does not name are not read."""
    document, number = DOCUMENTS[kind]
    schema = document.model_json_schema()
    numbered = schema["$defs"]["RunRecords"] if kind == "bench" else schema
    numbered["properties"]["schema"] = {"const": number}
    numbered.setdefault("required", []).append("schema")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
