"""Reads what a benchmark says of itself, its `extra_info`, into a typed measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reports.loading.document import expect_schema
from reports.loading.node import Node
from reports.records.study import (
    LANGUAGE_MODEL,
    Behaviour,
    Entry,
    Experts,
    Histogram,
    LanguageEntry,
    Measurement,
    Sample,
    Stat,
    Timing,
)

SCHEMA = 1
_SETTING = ("preset", "device", "threads", "dtype")
_SIZES = ("num_tokens", "batch_size", "sequence_length", "hidden_size", "intermediate_size", "num_experts", "top_k")
_LANGUAGE_SIZES = ("num_tokens", "batch_size", "sequence_length", "layers", "hidden_size", "num_experts", "top_k")


def read_entry(info: Node, source: int) -> Measurement:
    """The measurement that a benchmark's `extra_info` holds, of whatever subject.

    Args:
        info: the node.
        source: number of the file among those of the study.
    """
    if "schema" not in info.fields():
        raise info.fault("has no schema: not a benchmark of this suite")
    expect_schema(info, SCHEMA)
    subject = info.get("subject")
    name = subject.text() if subject else None
    if name not in _READERS:
        raise info["subject"].fault(f"is {name!r}; this version reads {LANGUAGE_MODEL!r}, or no subject")
    return _READERS[name](info, source)


def _router_entry(info: Node, source: int) -> Entry:
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
        setting=_setting(info),
        timing=_timing(info["timing"], info["timing"]["ns_per_token"].positive()),
        behaviour=_behaviour(info["behaviour"], sizes["num_experts"]),
        sample=_sample(sample, sizes["num_experts"]) if sample else None,
        source=source,
    )


def _language_entry(info: Node, source: int) -> LanguageEntry:
    per_token, peak_memory = info["timing"].get("ns_per_token"), info.get("peak_memory")
    experts = info.get("experts_per_token")
    # An injection handles no token, and a size may then be null.
    sizes = {name: info[name] for name in _LANGUAGE_SIZES}
    return LanguageEntry(
        scenario=info["scenario"].text(),
        router=info["router"].text(),
        initialise=info["initialise"].text(),
        experts_per_token=experts.positive() if experts else None,
        sizes={name: size.count() for name, size in sizes.items() if size.value is not None},
        parameters=info["parameters"].count(),
        peak_memory=peak_memory.count() if peak_memory else None,
        setting=_setting(info),
        timing=_timing(info["timing"], per_token.positive() if per_token else None),
        source=source,
    )


# An entry that names no subject is a router's.
_READERS: Mapping[str | None, Callable[[Node, int], Measurement]] = {
    None: _router_entry,
    LANGUAGE_MODEL: _language_entry,
}


def _setting(info: Node) -> dict[str, Any]:
    return {name: info.fields().get(name) for name in _SETTING}


def _timing(node: Node, ns_per_token: float | None) -> Timing:
    return Timing(
        clock=node["clock"].text(),
        repetitions=node["repetitions"].count(),
        rounds=node["rounds"].count(),
        us_per_call=node["us_per_call"].positive(),
        ns_per_token=ns_per_token,
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
