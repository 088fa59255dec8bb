"""What a router's start costs before any training."""

from __future__ import annotations

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields, spread_fields
from reports.format.numbers import count, fixed, percent
from reports.format.table import ROUTER_AND_START, Column, Table, interval_column, spread_column, text_column
from reports.judging.intervals import mean_interval
from reports.judging.order import STOCK
from reports.judging.verdict import judge_at_most
from reports.records.fine_tuning import FineTuning, Run, Variant
from reports.tables.conclusion import by_start, conclusion

WITHIN = 0.03


@registry.table("fine-tuning", "Warm start", place=4)
@registry.of_fine_tuning
def warm_start(tuning: FineTuning) -> Table:
    """What a start costs before any training, as a ratio to the untouched model, and whether it is within 3 %."""
    rows = [
        _start_row(variant)
        for variant in tuning.variants
        if variant.router != STOCK and variant.at_start(_ratio_to_original)
    ]
    if not rows:
        raise MissingDataError("no router's perplexity before training stands beside that of the untouched model")
    return Table(
        name="warm-start",
        title="Warm start",
        caption="Held-out perplexity before any training over that of the untouched model, "
        f"{fixed(2)(tuning.original)}. Within {100 * WITHIN:g} %: the whole 95 % interval of the ratio is at most "
        f"{1 + WITHIN:g}; it does not hold where none of it is; one seed leaves it open.",
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            Column("Seeds", ("seeds",), count),
            spread_column("Perplexity", "perplexity", fixed(2)),
            interval_column("Ratio to the original gates", "ratio", fixed(3)),
            Column("Agreement", ("agreement",), percent),
            text_column(f"Within {100 * WITHIN:g} %", "verdict"),
        ),
        findings=by_start(
            f"Within {100 * WITHIN:g} % of the original gates' perplexity before any training, {{}} start",
            rows,
            "verdict",
            conclusion,
        ),
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
