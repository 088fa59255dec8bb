"""Reads the result of the regression gate, two revisions timed in turn, into a `Comparison`."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from reports.comparisons.comparison import Change, Comparison, Moved, Row, Side, ordered
from reports.comparisons.fingerprint import describe
from reports.format.numbers import within
from reports.judging.intervals import Interval
from reports.loading.document import GATE, about, expect_kind, read_document
from reports.loading.node import Node

SCHEMA = 1
_HEADLINES = {0: "No regression", 1: "Regression", 3: "Nothing to compare"}
_VERDICTS = (Change.FAILED, Change.SLOWER, Change.UNCERTAIN, Change.FASTER, Change.SAME)


def load_gate(path: Path) -> Comparison:
    """The comparison that a gate's file holds, or a `ReportError` that names the file and what is wrong with it."""
    with about(path):
        document = read_document(path)
        expect_kind(document, GATE, SCHEMA)
        return _comparison(document)


def _comparison(document: Node) -> Comparison:
    nodes = list(document["rows"])
    rows = ordered(_row(node) for node in nodes)
    exit_code = document["outcome"]["exit_code"]
    if exit_code.count() not in _HEADLINES:
        raise exit_code.fault(f"is {exit_code.value!r}, not one of {', '.join(map(str, _HEADLINES))}")
    mean = document.get("geometric_mean")
    names = [row.benchmark for row in rows]
    if len(set(names)) < len(names):
        raise document["rows"].fault("hold a benchmark twice")
    return Comparison(
        marker="moe-router-gate",
        title="Router benchmarks",
        headline=_HEADLINES[exit_code.count()],
        reasons=_texts(document["outcome"]["reasons"]),
        caveat=None,
        base=_side(document["base"]),
        head=_side(document["head"]),
        setting=_setting(document, [node["pairs"].count() for node in nodes]),
        machine=f"machine: {describe(document['machine'].fields())}",
        machine_differences=(),
        notices=_texts(document["notices"]),
        rows=rows,
        moved=tuple(_moved(node) for node in document["figures"]),
        figures_compared=document["figures_compared"].count(),
        excluded=(),
        added=_texts(document["added"]),
        removed=_texts(document["removed"]),
        geometric_mean=mean.ratio() if mean else None,
        reading=_reading(document, [row.floor for row in rows if row.floor is not None]),
    )


def _row(node: Node) -> Row:
    verdict, reason, floor = node["verdict"], node.get("reason"), node.get("floor")
    if verdict.text() not in _VERDICTS:
        raise verdict.fault(f"is {verdict.value!r}, not one of {', '.join(_VERDICTS)}")
    return Row(
        benchmark=node["benchmark"].text(),
        base_us=_positive(node, "base_us"),
        head_us=_positive(node, "head_us"),
        ratio=_ratio(node, "ratio"),
        floor=floor.number() if floor else None,
        change=Change(verdict.text()),
        reason=reason.text() if reason else None,
        first_look=_ratio(node, "first_look"),
        expected=node["expected"].flag(),
    )


def _positive(node: Node, key: str) -> float | None:
    found = node.get(key)
    return found.positive() if found else None


def _ratio(node: Node, key: str) -> Interval | None:
    found = node.get(key)
    return found.ratio() if found else None


def _moved(node: Node) -> Moved:
    return Moved(
        benchmark=node["benchmark"].text(),
        figure=node["figure"].text(),
        base=node["base"].optional(),
        head=node["head"].optional(),
        expected=node["expected"].flag(),
    )


def _texts(node: Node) -> tuple[str, ...]:
    return tuple(item.text() for item in node)


def _side(node: Node) -> Side:
    return Side(node["ref"].text(), node["commit"].text(), node["subject"].text())


def _setting(document: Node, pairs: list[int]) -> tuple[str, ...]:
    preset, select = document["preset"], document.get("select")
    threads = document["threads"].count()
    phrases = [f"preset {preset['name'].text()}"]
    phrases += [f"only “{select.text()}”"] if select else []
    phrases += [f"device {document['device'].text()}", f"{threads} {'thread' if threads == 1 else 'threads'}"]
    phrases += [f"{_range(pairs)} pairs of fresh processes"] if any(pairs) else []
    return (*phrases, f"{document['elapsed_s'].number():,.0f} s")


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _reading(document: Node, floors: list[float]) -> tuple[str, ...]:
    threshold, multiple = document["threshold"].positive(), document["floor_multiple"].number()
    noise = "nothing was timed"
    if floors:
        noise = f"it was {within(median(floors))} in the median and {within(max(floors))} at worst"
    margin = document.get("margin")
    same = f"is proved to lie within {100 * margin.positive():g} %" if margin else "lies within"
    return (
        "Ratio: time of head over time of base, with its 95 % interval over pairs of fresh processes that took turns.",
        f"Noise: by how much equal code misses 1 in this very run; {noise}.",
        f"SLOWER and FASTER are proved, in further processes too, beyond {100 * threshold:g} % and beyond "
        f"{multiple:g} times the noise; SAME {same}; UNCERTAIN is neither.",
    )
