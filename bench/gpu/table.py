"""What the command prints last: the paper's Table I beside what was measured, and the other files in short."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PAPER_MS = {"linear": 0.07, "attention": 0.29, "mlp": 0.23, "hybrid": 0.58, "mlp_hadamard": 0.88, "hash": 85.0}
"""Latency of a call on an A100 40 GB (arXiv 2506.16419, section IV-1); the report has the whole table."""
SCENARIOS = {"router": "router alone", "token": "one token", "training": "training step"}

Document = Mapping[str, Any]


def lines(folder: Path) -> Iterator[str]:
    """The summary of all JSON files of a folder; nothing where there is none."""
    documents = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    paper = {name: document for name, document in documents.items() if name.startswith("paper-")}
    if documents:
        yield from _machine(list(documents.values()))
    if paper:
        yield ""
        yield from _table_one(list(paper.values()))
    others = [line for name, document in documents.items() if name not in paper for line in _in_short(name, document)]
    if others:
        yield ""
        yield from others
    selection = folder / "selection.log"  # its program prints a table of its own
    if selection.exists():
        yield ""
        yield from selection.read_text("utf-8", errors="replace").splitlines()


def _machine(documents: Sequence[Document]) -> Iterator[str]:
    studies = [document["study"] for document in documents]
    machine = studies[0]["machine"]
    gpu, torch = machine["gpu"], machine["torch"]["version"]
    days = sorted({document["datetime"][:10] for document in documents})
    device = f"{gpu['name']} (driver {gpu['driver']}, CUDA {gpu['cuda']})" if gpu else machine["cpu"]["model"]
    yield f"{device}, torch {torch}, {' to '.join(dict.fromkeys((days[0], days[-1])))}"
    moments = [moment["gpu"] for study in studies for moment in study["conditions"].values() if moment["gpu"]]
    if moments:
        shown = (("sm_mhz", "SM clock", "MHz"), ("memory_mhz", "memory clock", "MHz"), ("temperature_c", "at", "°C"))
        yield ", ".join(f"{label} {_range([each[name] for each in moments])} {unit}" for name, label, unit in shown)
        reasons = dict.fromkeys(reason for each in moments for reason in each["throttled_by"] or ())
        yield f"slowed down by: {', '.join(reasons) or 'nothing that the driver tells'}"


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "unknown"
    return " to ".join(dict.fromkeys((f"{min(known):,.0f}", f"{max(known):,.0f}")))


def _infos(document: Document) -> list[dict[str, Any]]:
    return [benchmark["extra_info"] for benchmark in document["benchmarks"]]


def _table_one(documents: Sequence[Document]) -> Iterator[str]:
    """A row a router: the time alone, and the ratios of each scenario to Linear."""
    infos = [info for document in documents for info in _infos(document)]
    found = {(info["scenario"], info["router"]): info["timing"] for info in infos}
    first = infos[0]
    sizes = f"T {first['num_tokens']:,}, D {first['hidden_size']}, E {first['num_experts']}, K {first['top_k']}"
    timing = first["timing"]
    yield (
        f"Random input, {sizes}, {first['dtype']}; preset {first['preset']}, {timing['repetitions']} processes x "
        f"{timing['rounds']} rounds, clock {timing['clock_mode']}, L2 {timing['l2']}; ratios to linear [95 %]"
    )
    rows = [["router", "µs", "paper (A100)", *SCENARIOS.values()]]
    for router in dict.fromkeys((*PAPER_MS, *sorted(router for _, router in found))):
        alone, paper = found.get(("router", router)), PAPER_MS.get(router)
        rows.append(
            [
                router,
                f"{alone['us_per_call']:,.1f}" if alone else "-",
                "-" if paper is None else f"{paper / PAPER_MS['linear']:,.1f}",
                *(_ratio(found.get((scenario, router)), router) for scenario in SCENARIOS),
            ]
        )
    yield from _aligned(rows)
    for noise in (noise for document in documents for noise in document["study"]["noise"]):
        floor = noise["noise_floor"]
        yield (
            f"{SCENARIOS[noise['scenario']]}: linear against itself {floor['estimate']:.3f} [{floor['low']:.3f}, "
            f"{floor['high']:.3f}], tells {100 * noise['resolution']:.1f} % apart"
        )
    yield f"The paper's linear takes {1e3 * PAPER_MS['linear']:.0f} µs, its hash {PAPER_MS['hash']:.0f} ms."


def _ratio(timing: Mapping[str, Any] | None, router: str) -> str:
    if timing is None:
        return "-"
    if router == timing["baseline"]:
        return f"{timing['us_per_call']:,.1f} µs"
    ratio = timing["ratio"]
    return f"{ratio['estimate']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def _in_short(name: str, document: Document) -> Iterator[str]:
    """A line a group of another file: the baseline's time, and the ratios from the fastest to the slowest."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for benchmark in document["benchmarks"]:
        groups.setdefault(str(benchmark.get("group")), []).append(benchmark["extra_info"])
    for group, infos in groups.items():
        timings = {info["router"]: info["timing"] for info in infos}
        first = next(iter(timings.values()))
        baseline = timings.get(first["baseline"])
        time = f"{first['baseline']} {baseline['us_per_call']:,.1f} µs" if baseline else f"x {first['baseline']}"
        others = sorted((each["ratio"]["estimate"], router) for router, each in timings.items() if each is not baseline)
        ratios = ", ".join(f"{router} {ratio:.3g}" for ratio, router in others)
        yield f"{name}: {group}; clock {first['clock_mode']}, L2 {first['l2']}: {time}; {ratios}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
