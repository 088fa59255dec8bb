"""Reads benchmark files into a `Study`, and refuses what is not one, in a line that names the file and the reason.

Several files are one study: where two hold the same scenario, router and input, the later file wins and the report says
so. Files of different schema are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.intervals import Interval
from reports.node import Node
from reports.study import Behaviour, Entry, Experts, Histogram, Sample, Source, Stat, Study, Timing

SCHEMA = 1
_SIZES = ("num_tokens", "batch_size", "sequence_length", "hidden_size", "intermediate_size", "num_experts", "top_k")


def load_study(paths: Sequence[Path]) -> Study:
    """Reads all files, or raises `ReportError` about the first that cannot be read."""
    sources: list[Source] = []
    kept: dict[tuple[str, str, str], Entry] = {}
    remarks: list[str] = []
    for index, path in enumerate(paths):
        try:
            source, entries = _read_file(path, index)
        except ReportError as error:
            raise ReportError(f"{path}: {error}") from None
        replaced = sum(entry.key in kept for entry in entries)
        if replaced:
            remarks.append(
                f"{path.name} comes later and holds {replaced} measurement(s) that an earlier file holds too: the "
                "later ones are shown. Ratios and noise floors remain those of the run that measured them."
            )
        kept.update((entry.key, entry) for entry in entries)
        sources.append(source)
    return Study(tuple(sources), tuple(kept.values()), tuple(remarks))


def _read_file(path: Path, index: int) -> tuple[Source, list[Entry]]:
    document = Node(_parse(path))
    if not isinstance(document.value, dict) or "benchmarks" not in document.value:
        raise ReportError("not a pytest-benchmark file: no object with a list of benchmarks")
    if "study" not in document.value:
        raise ReportError("not a file of this suite: it has no “study” (was it made by `pytest bench`?)")
    _check_schema(document["study"])
    entries = [_entry(benchmark["extra_info"], index) for benchmark in document["benchmarks"]]
    if not entries:
        raise ReportError("holds no benchmark")
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        if entry.key in seen:
            raise ReportError(f"holds {' / '.join(entry.key)} twice")
        seen.add(entry.key)
    machine = document.get("machine_info")
    date = document.get("datetime")
    source = Source(
        str(path), document["study"].fields(), machine.fields() if machine else {}, date.text() if date else "unknown"
    )
    return source, entries


def _parse(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ReportError(f"holds {constant}, which is no JSON number")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ReportError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ReportError("not JSON: not UTF-8 text") from None
    except RecursionError:
        raise ReportError("not JSON of this suite: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON, or cut off: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        # Python refuses to convert integers of more than some thousand digits.
        raise ReportError("holds a number that is too long") from None


def _check_schema(node: Node) -> None:
    schema = node["schema"]
    if schema.value != SCHEMA:
        raise schema.fault(f"is {schema.value!r}; this version reads schema {SCHEMA}")


def _entry(info: Node, source: int) -> Entry:
    if "schema" not in info.fields():
        raise info.fault("has no schema: not a benchmark of this suite")
    _check_schema(info)
    sizes = {name: info[name].count() for name in _SIZES}
    flops = info.get("flops")
    sample = info.get("figures")
    return Entry(
        scenario=info["scenario"].text(),
        router=info["router"].text(),
        input=info["input"].text(),
        input_source=info["input_source"].text(),
        sizes=sizes,
        experts_per_token=info["experts_per_token"].optional(),
        parameters=info["parameters"].count(),
        flops=flops.count() if flops else None,
        timing=_timing(info["timing"]),
        behaviour=_behaviour(info["behaviour"], sizes["num_experts"]),
        sample=_sample(sample, sizes["num_experts"]) if sample else None,
        source=source,
    )


def _timing(node: Node) -> Timing:
    return Timing(
        clock=node["clock"].text(),
        repetitions=node["repetitions"].count(),
        rounds=node["rounds"].count(),
        us_per_call=node["us_per_call"].positive(),
        ns_per_token=node["ns_per_token"].positive(),
        baseline=node["baseline"].text(),
        ratio=_ratio(node["ratio"]),
        noise_floor=_ratio(node["noise_floor"]),
        gflops=node["gflops"].optional(),
        peak_gflops=node["peak_gflops"].optional(),
    )


def _ratio(node: Node) -> Interval:
    low, high = node.get("low"), node.get("high")
    return Interval(node["estimate"].positive(), low.positive() if low else None, high.positive() if high else None)


def _behaviour(node: Node, num_experts: int) -> Behaviour:
    seeds = [seed.count() for seed in node["seeds"]]

    def stat(value: Node) -> Stat:
        values = [item.optional() for item in value["values"].exactly(len(seeds))]
        return Stat(value["mean"].optional(), value["sd"].optional(), dict(zip(seeds, values, strict=True)))

    def experts(kind: Node) -> Experts:
        error = kind.get("output_error")
        return Experts(stat(kind["output_std"]), stat(error) if error else None)

    return Behaviour(
        metrics={name: stat(value) for name, value in node["metrics"].items()},
        expert_load=node["expert_load"]["mean"].numbers(num_experts),
        layer={kind: experts(value) for kind, value in node["layer"].items()},
    )


def _sample(node: Node, num_experts: int) -> Sample:
    probs = tuple(row.numbers(num_experts) for row in node["sequence_probs"])
    tokens = node.get("sequence_tokens")
    return Sample(
        sequence_probs=probs,
        sequence_tokens=tuple(word.text() for word in tokens.exactly(len(probs))) if tokens else None,
        outputs=_histograms(dict(node["output_histogram"].items())),
    )


def _histograms(kinds: Mapping[str, Node]) -> dict[str, Histogram]:
    histograms = {}
    for kind, node in kinds.items():
        counts = node["counts"].numbers()
        histograms[kind] = Histogram(node["edges"].numbers(len(counts) + 1), counts)
    return histograms
