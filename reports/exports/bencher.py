"""Bencher's metric format: benchmark -> measure -> value, lower_value, upper_value (`bencher run --adapter json`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from reports.exports.format import Format, Value
from reports.history.run import Run

# Bencher knows latency, in nanoseconds; any other measure is known by the name that it comes with.
_MEASURES = {"us_per_call": ("latency", 1e3)}


def files(_run: Run, values: Sequence[Value], _out: Path) -> dict[str, bytes]:
    """One file: the run's values under the benchmarks' names."""
    document: dict[str, dict[str, dict[str, float]]] = {}
    for each in values:
        measure, scale = _MEASURES.get(each.metric.name, (each.metric.name.replace("_", "-"), 1.0))
        ends = {"value": each.value.estimate, "lower_value": each.value.low, "upper_value": each.value.high}
        known = {name: scale * end for name, end in ends.items() if end is not None}
        document.setdefault(each.name, {})[measure] = known
    return {"": f"{json.dumps(document, indent=2)}\n".encode()}


FORMAT = Format(files, "Bencher's JSON adapter", "FILE")
