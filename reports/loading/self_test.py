"""Reads a self-test of the gate: what it found of slowdowns of known size, and how often it cried wolf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.comparisons.fingerprint import describe
from reports.loading.document import SELF_TEST, about, expect_kind, read_document
from reports.loading.node import Node

SCHEMA = 1
_FOUND = "SLOWER"


@dataclass(frozen=True)
class Share:
    """So many of so many, with Wilson's 95 % interval of the share; all are None where nothing was tried."""

    hits: int
    trials: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        """Hits over trials."""
        return self.hits / self.trials if self.trials else None


@dataclass(frozen=True)
class Level:
    """One slowdown, a share of one, and what became of the trials; mean and sd are of the ratios estimated."""

    slowdown: float
    found: Share
    missed: Mapping[str, int]  # verdict -> trials, those that are not found
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class FalseAlarms:
    """Whole runs of a revision against itself, and what became of their single comparisons."""

    alarms: Share
    comparisons: int
    verdicts: Mapping[str, int]


@dataclass(frozen=True)
class SelfTest:
    """A self-test with its levels, the smallest slowdown first."""

    revision: str
    setting: str
    machine: str
    threshold: float
    benchmarks: tuple[str, ...]
    levels: tuple[Level, ...]
    false_alarms: FalseAlarms


def load_self_test(path: Path) -> SelfTest:
    """The self-test that a file holds, or a `ReportError` that names the file and what is wrong with it."""
    with about(path):
        document = read_document(path)
        expect_kind(document, SELF_TEST, SCHEMA)
        return _self_test(document)


def _self_test(document: Node) -> SelfTest:
    revision = document["revision"]
    threads = document["threads"].count()
    levels = [_level(node) for node in document["levels"]]
    if not levels:
        raise document["levels"].fault("holds no slowdown")
    return SelfTest(
        revision=f"{revision['ref'].text()} {revision['commit'].text()[:8]} {revision['subject'].text()}",
        setting=f"preset {document['preset']['name'].text()}, device {document['device'].text()}, "
        f"{threads} {'thread' if threads == 1 else 'threads'}",
        machine=describe(document["machine"].fields()),
        threshold=document["threshold"].positive(),
        benchmarks=tuple(node.text() for node in document["benchmarks"]),
        levels=tuple(sorted(levels, key=lambda level: level.slowdown)),
        false_alarms=_false_alarms(document["false_alarms"]),
    )


def _level(node: Node) -> Level:
    estimate, verdicts = node.get("estimate"), _verdicts(node["verdicts"])
    return Level(
        slowdown=node["slowdown"].number(),
        found=_share(node, "found"),
        missed={verdict: trials for verdict, trials in verdicts.items() if verdict != _FOUND},
        mean=estimate["mean"].optional() if estimate else None,
        sd=estimate["sd"].optional() if estimate else None,
    )


def _false_alarms(node: Node) -> FalseAlarms:
    return FalseAlarms(_share(node, "alarms"), node["comparisons"].count(), _verdicts(node["verdicts"]))


def _verdicts(node: Node) -> dict[str, int]:
    return {verdict: trials.count() for verdict, trials in node.items()}


def _share(node: Node, hits: str) -> Share:
    share = Share(node[hits].count(), node["trials"].count(), node["low"].optional(), node["high"].optional())
    if share.hits > share.trials:
        raise node[hits].fault(f"is {share.hits} of {share.trials}")
    return share
