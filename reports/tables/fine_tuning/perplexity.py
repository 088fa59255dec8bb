"""How well a language model with another router reads text that it was not trained on, before training and after."""

from __future__ import annotations

from functools import partial

from reports.format import registry
from reports.format.fields import interval_fields, spread_fields
from reports.format.numbers import count, fixed, listing, percent
from reports.format.table import (
    ROUTER_AND_START,
    Column,
    Table,
    bounds_column,
    interval_column,
    spread_column,
    text_column,
)
from reports.judging.intervals import Interval, mean_interval, paired_difference
from reports.judging.verdict import Claim, judge_shift
from reports.records.fine_tuning import FineTuning, Run, Variant
from reports.tables.conclusion import by_start, grouped

# What the table would show as zero.
_NEGLIGIBLE = 0.5e-2
# What the claim that training the router lowers perplexity says in a word.
_TRAINING = {Claim.HOLDS: "helps", Claim.FAILS: "harms", Claim.UNCLEAR: "unclear", Claim.UNCHANGED: "no change"}
# Likewise for the claim that it is higher than that of the model's own gates.
_BESIDE = {Claim.HOLDS: "higher", Claim.FAILS: "lower", Claim.UNCLEAR: "not separated", Claim.UNCHANGED: "equal"}


def before(run: Run) -> float | None:
    """Held-out perplexity before any step."""
    return run.perplexity.before


def after(run: Run) -> float | None:
    """Held-out perplexity after the last step."""
    return run.perplexity.after


@registry.table("fine-tuning", "Held-out perplexity", place=3)
@registry.of_fine_tuning
def held_out(tuning: FineTuning) -> Table:
    """Perplexity before and after, beside the control whose router was frozen and beside the model's own gates."""
    rows = [_row(variant, tuning.stock) for variant in tuning.variants]
    original = fixed(2)(tuning.original)
    signed = fixed(2, signed=True)
    return Table(
        name="held-out-perplexity",
        title="Held-out perplexity",
        caption=f"On {_text(tuning)}; the untouched model has {original}. After: router and adapters trained; frozen: "
        "the control in which the adapters alone learn. Differences are paired by seed, with 95 % intervals; "
        "training the router helps or harms where the interval excludes zero. “− stock” is what remains beside the "
        "model's own gates, trained likewise. Agreement: share of the original gates' experts that the router "
        "selects too.",
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            Column("Seeds", ("seeds",), count),
            spread_column("Before", "before", fixed(2)),
            spread_column("After", "after", fixed(2)),
            bounds_column("95 % interval", "after_mean", fixed(2)),
            spread_column("After, frozen", "frozen", fixed(2)),
            interval_column("Trained − frozen", "gain", signed),
            text_column("Training the router", "verdict"),
            interval_column("After − stock", "beside_stock", signed),
            Column("Agreement before", ("agreement_before",), percent),
            Column("Agreement after", ("agreement_after",), percent),
            Column("Trained parameters", ("trained_parameters",), count),
        ),
        findings=(
            *by_start(
                "Training the router beside the adapters, {} start, held-out text",
                rows,
                "verdict",
                partial(grouped, order=_TRAINING.values()),
            ),
            *by_start(
                "Held-out perplexity after training beside stock's, {} start",
                rows,
                "beside_stock_verdict",
                partial(grouped, order=_BESIDE.values()),
            ),
            *_diverged(tuning),
        ),
    )


def _row(variant: Variant, stock: Variant | None) -> dict[str, object]:
    trained, frozen = variant.trained.known(after), variant.frozen.known(after)
    gain = paired_difference(frozen, trained)
    beside = paired_difference(stock.trained.known(after), trained) if stock and stock is not variant else None
    return {
        "router": variant.router,
        "start": variant.initialise,
        "seeds": len(variant.seeds),
        **spread_fields("before", variant.at_start(before).values()),
        **spread_fields("after", trained.values()),
        **interval_fields("after_mean", _mean(trained)),
        **spread_fields("frozen", frozen.values()),
        **interval_fields("gain", gain),
        "verdict": _TRAINING[judge_shift(gain, -1, _NEGLIGIBLE)] if gain else None,
        **interval_fields("beside_stock", beside),
        "beside_stock_verdict": _BESIDE[judge_shift(beside, +1, _NEGLIGIBLE)] if beside else None,
        **spread_fields("agreement_before", variant.at_start(lambda run: run.agreement.before).values()),
        **spread_fields("agreement_after", variant.trained.known(lambda run: run.agreement.after).values()),
        "router_parameters": variant.router_parameters,
        "trained_parameters": next((run.trained_parameters for run in variant.trained.values()), None),
        **spread_fields("seconds", variant.trained.known(lambda run: run.seconds).values()),
    }


def _mean(values: dict[int, float]) -> Interval | None:
    return mean_interval(list(values.values())) if values else None


def _text(tuning: FineTuning) -> str:
    text = tuning.text
    return f"{text['held_out_windows']:,} passages ({text['held_out_tokens']:,} tokens) of {text['source']}"


def _diverged(tuning: FineTuning) -> list[str]:
    """Names the runs that a mean leaves out."""
    lost = [
        f"{run.router} ({run.initialise}, seed {run.seed}, {run.router_training})"
        for run in tuning.runs
        if run.log and after(run) is None
    ]
    return [f"Without a finite perplexity after training, and in no mean: {listing(lost)}."] if lost else []
