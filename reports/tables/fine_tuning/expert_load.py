"""What fine-tuning does to the balance of the experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields, spread_fields
from reports.format.numbers import Show, fixed
from reports.format.table import ROUTER_AND_START, Table, interval_column, spread_column, text_column
from reports.judging.intervals import paired_difference
from reports.judging.verdict import Claim, judge_shift
from reports.records.fine_tuning import FineTuning, Log, Variant
from reports.tables.conclusion import by_start, grouped

# field of a row, heading, how it is written, and where it stands in the log
_QUANTITIES: tuple[tuple[str, str, Show, Callable[[Log], float | None]], ...] = (
    ("max_violation", "MaxVio", fixed(3), lambda log: log.max_violation),
    ("load_cv", "Load CV", fixed(3), lambda log: log.load_cv),
    ("load_balancing_loss", "Balancing loss", fixed(3), lambda log: log.load_balancing_loss),
)
_NEGLIGIBLE = 0.5e-3
_WAYS = {Claim.HOLDS: "more uneven", Claim.FAILS: "more even", Claim.UNCLEAR: "unclear", Claim.UNCHANGED: "no change"}


@registry.table("fine-tuning", "Expert load during fine-tuning", place=5)
@registry.of_fine_tuning
def expert_load(tuning: FineTuning) -> Table:
    """Violation, spread and balancing loss at the first and at the last logged step of the trained runs."""
    variants = [variant for variant in tuning.variants if any(_ends(variant, read) for _, _, _, read in _QUANTITIES)]
    if not variants:
        raise MissingDataError("the files hold no expert load of a trained router")
    rows = [_row(variant) for variant in variants]
    first, last = variants[0].trained.steps[0], variants[0].trained.steps[-1]
    return Table(
        name="fine-tuning-expert-load",
        title="Expert load during fine-tuning",
        caption="Means over the steps since the log's entry before, over layers and, ± sd, over seeds. MaxVio: the "
        "largest count over the mean count, minus one; its change is paired by seed, with its 95 % interval. The "
        f"balancing loss is E Σ f P, 1 at balance; {_trained_with(tuning)}.",
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            *(
                spread_column(f"{heading}, step {step}", f"{field}_{end}", show)
                for field, heading, show, _ in _QUANTITIES
                for end, step in (("first", first), ("last", last))
            ),
            interval_column("Change of MaxVio", "change", fixed(3, signed=True)),
            text_column("Load becomes", "way"),
        ),
        findings=by_start(
            "Expert load over the course of fine-tuning (MaxVio), {} start",
            rows,
            "way",
            partial(grouped, order=_WAYS.values()),
        ),
    )


def _trained_with(tuning: FineTuning) -> str:
    """What evened the load out."""
    name, coefficient = tuning.settings["balance"], tuning.settings["load_balancing_coefficient"]
    if name == "switch":
        return f"it enters training with the coefficient {coefficient}"
    return f"it is shown alone: the load is balanced by {name}, the coefficient of whose loss, if any, is {coefficient}"


def _ends(variant: Variant, read: Callable[[Log], float | None]) -> tuple[dict[int, float], dict[int, float]] | None:
    """A quantity at the first and at the last logged step, by seed."""
    if not variant.trained.steps:
        return None
    first, last = (
        variant.trained.at(variant.trained.steps[0], read),
        variant.trained.at(variant.trained.steps[-1], read),
    )
    return (first, last) if first or last else None


def _row(variant: Variant) -> dict[str, object]:
    row: dict[str, object] = {"router": variant.router, "start": variant.initialise}
    for field, _, _, read in _QUANTITIES:
        first, last = _ends(variant, read) or ({}, {})
        row |= spread_fields(f"{field}_first", first.values()) | spread_fields(f"{field}_last", last.values())
    ends = _ends(variant, lambda log: log.max_violation)
    change = paired_difference(*ends) if ends and len(variant.trained.steps) > 1 else None
    row |= interval_fields("change", change)
    return row | {"way": _WAYS[judge_shift(change, +1, _NEGLIGIBLE)] if change else None}
