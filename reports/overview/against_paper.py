"""What became of the paper's numbers, and where ours stand against it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from reports.errors import MissingDataError
from reports.format.table import Table
from reports.judging import paper
from reports.judging.paper import PaperTable
from reports.judging.verdict import Claim, Verdict
from reports.overview.headline import alone
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.paper import paper_values
from reports.tables.paper.contextual import CONCENTRATED, POLARISED, VARIED, random_against_contextual
from reports.tables.times.latency import orders_of

_TABLES: tuple[tuple[Callable[[ReportData], Table], PaperTable], ...] = (
    (paper_values.parameters, paper.PARAMETERS),
    (paper_values.random_input, paper.RANDOM_INPUT),
    (paper_values.supplemental, paper.SUPPLEMENTAL),
)
_LATENCY = paper.RANDOM_INPUT.values["latency_ms"]
CLAIMS = {
    POLARISED: "more polarised routing",
    CONCENTRATED: "more concentrated load",
    VARIED: "larger output variance",
}
"""What the paper says of pretrained against random input (III-F), in short."""
COMPARED = (Verdict.REPRODUCED, Verdict.APPROXIMATE, Verdict.NOT_DERIVABLE)
OPEN = "definition left open"
"""Beside the verdicts: what is not derivable because the paper does not say what it is."""
_METRICS = {title: metric for metric, title in paper_values.METRIC_TITLES.items()}


def verdicts(data: ReportData) -> dict[str, Counter[str]]:
    """Router -> how many of the paper's numbers of it met which verdict, over the paper's tables."""
    found: dict[str, Counter[str]] = {}
    for build, table in _TABLES:
        try:
            rows = build(data).rows
        except MissingDataError:
            continue
        for row in rows:
            if row["verdict"]:
                printed = table.get(_METRICS.get(str(row.get("metric")), "parameters"), str(row["router"]))
                verdict = OPEN if printed and printed.definition_open else str(row["verdict"])
                found.setdefault(str(row["router"]), Counter())[verdict] += 1
    return found


def in_order(data: ReportData) -> tuple[int, int]:
    """How many pairs of routers stand in the paper's order of latency, and of how many that were measured."""
    found = list(orders_of({router: entry for router, entry in alone(data).items() if router in _LATENCY}).values())
    return found.count(True), len(found)


def claims(data: ReportData) -> dict[str, str]:
    """The paper's claims about pretrained input, each with "all", "some" or "no": the routers that it holds for."""
    found: dict[str, str] = {}
    for shift, claim in CLAIMS.items():
        try:
            rows = random_against_contextual(shift, data).rows
        except MissingDataError:
            continue
        counted = [row["verdict"] == Claim.HOLDS for row in rows if row["verdict"] != Claim.UNCHANGED]
        if counted:
            found[claim] = "all" if all(counted) else "some" if any(counted) else "no"
    return found


def contradiction(data: ReportData) -> tuple[Entry, Entry, float] | None:
    """Of the pairs that stand the other way round than in the paper, the one that is furthest apart there.

    Returns:
        The router that the paper has the slower and we the faster, the other one, and the paper's ratio of their times;
        None where no pair does, or where times were not measured at the paper's input.
    """
    entries = {router: entry for router, entry in alone(data).items() if router in _LATENCY}
    turned = [tuple(pair) for pair, same in orders_of(entries).items() if same is False]
    if not turned:
        return None
    slower, faster = max(
        (sorted(pair, key=lambda router: -_LATENCY[router].value) for pair in turned),
        key=lambda pair: math.log(_LATENCY[pair[0]].value / _LATENCY[pair[1]].value),
    )
    # Among the pairs of the router that the paper has so slow, the baseline is what readers compare with.
    baseline = entries[slower].timing.baseline
    if any(set(pair) == {slower, baseline} for pair in turned):
        faster = baseline
    return entries[slower], entries[faster], _LATENCY[slower].value / _LATENCY[faster].value
