"""Reads benchmark files into a `Study`, and refuses what is not one, in a line that names the file and the reason.

Several files are one study: where two hold the same scenario, router and input, the later file wins and the report says
so. Files of different schema are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.document import BENCHMARKS, about, expect_schema, read_document, what_it_is
from reports.errors import ReportError
from reports.node import Node
from reports.study import Behaviour, Entry, Experts, Histogram, Sample, Source, Stat, Study, Timing

SCHEMA = 1
_SETTING = ("preset", "device", "threads", "dtype")
_SIZES = ("num_tokens", "batch_size", "sequence_length", "hidden_size", "intermediate_size", "num_experts", "top_k")


def load_study(paths: Sequence[Path]) -> Study:
    """Reads all files, or raises `ReportError` about the first that cannot be read."""
    sources: list[Source] = []
    kept: dict[tuple[str, str, str], Entry] = {}
    remarks: list[str] = []
    for index, path in enumerate(paths):
        with about(path):
            source, entries = _read_file(path, index)
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
    document = read_document(path)
    kind = what_it_is(document)
    if kind not in (None, BENCHMARKS):
        raise ReportError(f"is {kind}, not {BENCHMARKS}")
    if not isinstance(document.value, dict) or "benchmarks" not in document.value:
        raise ReportError("not a pytest-benchmark file: no object with a list of benchmarks")
    if "study" not in document.value:
        raise ReportError("not a file of this suite: it has no “study” (was it made by `pytest bench`?)")
    expect_schema(document["study"], SCHEMA)
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
    commit = document.get("commit_info")
    source = Source(
        file=str(path),
        run=document["study"].fields(),
        machine=machine.fields() if machine else {},
        date=date.text() if date else "unknown",
        commit=commit.fields() if commit else {},
    )
    return source, entries


def _entry(info: Node, source: int) -> Entry:
    if "schema" not in info.fields():
        raise info.fault("has no schema: not a benchmark of this suite")
    expect_schema(info, SCHEMA)
    sizes = {name: info[name].count() for name in _SIZES}
    flops, peak_memory = info.get("flops"), info.get("peak_memory")
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
        peak_memory=peak_memory.count() if peak_memory else None,
        setting={name: info.fields().get(name) for name in _SETTING},
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
        block_median_us=_blocks(node["block_median_us"]),
        ratio=node["ratio"].ratio(),
        noise_floor=node["noise_floor"].ratio(),
        gflops=node["gflops"].optional(),
        peak_gflops=node["peak_gflops"].optional(),
    )


def _blocks(node: Node) -> tuple[float, ...]:
    blocks = tuple(block.positive() for block in node)
    if not blocks:
        raise node.fault("holds no block")
    return blocks


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
