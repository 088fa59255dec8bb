"""What a router's start costs before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.numbers import count, fixed, percent
from reports.format.table import Column, Table, interval_column, interval_fields, spread_column, spread_fields, words
from reports.judging.intervals import mean_interval
from reports.judging.order import STOCK
from reports.judging.verdict import Claim, judge_at_most
from reports.records.fine_tuning import Run, Variant
from reports.records.models import tuned_caption, tuned_title
from reports.records.report_data import ReportData
from reports.tables.conclusion import conclusion, words_by_start

WITHIN = 0.03


@registry.table("fine-tuning", "Warm start", place=4)
def warm_start(study: ReportData) -> Table:
    """What a start costs before any training, as a ratio to the untouched model, and whether it is within 3 %."""
    tuning = study.tuned
    rows = [
        _start_row(variant)
        for variant in tuning.variants
        if variant.router != STOCK and variant.at_start(_ratio_to_original)
    ]
    if not rows:
        raise MissingDataError("no router's perplexity before training stands beside that of the untouched model")
    return Table(
        name="warm-start",
        title=tuned_title(tuning, "Warm start"),
        caption=tuned_caption(
            tuning,
            f"Held-out perplexity before any training over that of the untouched model, {fixed(2)(tuning.original)}. "
            f"Within {100 * WITHIN:g} %: the whole 95 % interval of the ratio is at most {1 + WITHIN:g}; it does not "
            "hold where none of it is; one seed leaves it open.",
        ),
        frame=pd.DataFrame(rows),
        columns=(
            words("Router", "router"),
            words("Start", "start"),
            Column("Seeds", ("seeds",), count),
            spread_column("Perplexity", "perplexity", fixed(2)),
            interval_column("Ratio to the original gates", "ratio", fixed(3)),
            Column("Agreement", ("agreement",), percent),
            words(f"Within {100 * WITHIN:g} %", "verdict"),
        ),
        findings=_within(rows),
    )


def _ratio_to_original(run: Run) -> float | None:
    before = run.perplexity.before
    return None if before is None or run.original is None else before / run.original


def _start_row(variant: Variant) -> dict[str, object]:
    ratio = mean_interval(list(variant.at_start(_ratio_to_original).values()))
    perplexities = variant.at_start(lambda run: run.perplexity.before)
    return {
        "router": variant.router,
        "start": variant.initialise,
        "seeds": len(perplexities),
        **spread_fields("perplexity", perplexities.values()),
        **interval_fields("ratio", ratio),
        **spread_fields("agreement", variant.at_start(lambda run: run.agreement.before).values()),
        "verdict": str(judge_at_most(ratio, 1 + WITHIN)),
    }


def _within(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    return tuple(
        f"Within {100 * WITHIN:g} % of the original gates' perplexity before any training, {start} start: "
        f"{conclusion({router: Claim(verdict) for router, verdict in found.items()})}."
        for start, found in words_by_start(rows, "verdict").items()
    )
