"""Training losses step by step, beside those that the paper prints."""

from __future__ import annotations

from collections.abc import Sequence

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields, spread_fields
from reports.format.numbers import fixed, interval, missing, spread
from reports.format.table import ROUTER_AND_START, Column, Table, interval_column, text_column
from reports.judging import paper
from reports.judging.intervals import paired_difference
from reports.judging.paper import Curve
from reports.judging.verdict import Claim, judge_decrease, judge_shift
from reports.records.fine_tuning import FineTuning, Variant
from reports.tables.conclusion import by_start, conclusion

# More columns than this are no table that anyone reads.
_SHOWN_STEPS = 10
# What the table would show as zero.
_NEGLIGIBLE = 0.5e-4
_PAPERS_START = "random"
# What the claim that a loss lies above linear's says of one that the paper makes no claim about.
_SIDES = {Claim.HOLDS: "above", Claim.FAILS: "below", Claim.UNCLEAR: "undecided", Claim.UNCHANGED: "equal"}


@registry.table("fine-tuning", "Fine-tuning loss", place=1)
@registry.of_fine_tuning
def losses(tuning: FineTuning) -> Table:
    """A row per router and start, the paper's own above ours where it has one; does the loss fall at every step?"""
    variants = _with_losses(tuning)
    printed = {name: curve for name, curve in paper.FINE_TUNING.items() if name in tuning.routers}
    steps = sorted(
        {step for variant in variants for step in variant.trained.steps}
        | {s for c in printed.values() for s in c.losses}
    )
    shown = _thinned(steps)
    rows = []
    for router in tuning.routers:
        rows += [_paper_row(router, printed[router], steps)] if router in printed else []
        rows += [_row(variant, steps) for variant in variants if variant.router == router]
    thinned = "" if shown == steps else f" Shown are {len(shown)} of {len(steps)} logged steps; the CSV has all."
    return Table(
        name="fine-tuning-loss",
        title="Fine-tuning loss by step",
        caption="Training loss, mean over the steps since the entry before, then mean ± sd over seeds; router and "
        "adapters trained. Paper: sections V-A and V-B, on Qwen1.5-MoE. Ours: on another model, with "
        "learning rates and a LoRA alpha of our own, because the paper's are lost. What is compared is therefore the "
        "shape of the curves, and no value. Claim (V-A): the loss falls monotonically; it holds where every seed's "
        f"does, and does not where the mean over seeds rises. A dash: not logged, or not finite in some seed.{thinned}",
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            text_column("Source", "source"),
            *(Column(f"Step {step}", (f"loss_{step}", f"loss_{step}_sd", f"printed_{step}"), _loss) for step in shown),
            text_column("Falls at every step", "verdict"),
        ),
        findings=by_start(
            "The claim that the training loss falls monotonically (V-A), {} start", rows, "verdict", conclusion
        ),
        left_out=tuple(
            (router, "the paper fine-tunes it, and it was not fine-tuned here")
            for router in paper.FINE_TUNING
            if router not in tuning.routers
        ),
    )


@registry.table("fine-tuning", "Fine-tuning loss against linear's", place=2)
@registry.of_fine_tuning
def against_linear(tuning: FineTuning) -> Table:
    """Where each router starts and ends beside linear from the same start: the paper's V-B says it of attention."""
    variants = _with_losses(tuning)
    linear = {variant.initialise: variant for variant in variants if variant.router == "linear"}
    pairs = [(linear[v.initialise], v) for v in variants if v.router != "linear" and v.initialise in linear]
    pairs = [(base, variant) for base, variant in pairs if set(base.trained.steps) & set(variant.trained.steps)]
    if not pairs:
        raise MissingDataError("no router was fine-tuned beside linear from the same start")
    rows = [_difference_row(base, variant) for base, variant in pairs]
    steps = sorted(set(pairs[0][0].trained.steps) & set(pairs[0][1].trained.steps))
    show = fixed(4, signed=True)
    return Table(
        name="fine-tuning-against-linear",
        title="Fine-tuning loss against linear's",
        caption="Loss minus linear's from the same start, paired by seed, with its 95 % interval, at the first and "
        "at the last logged step. Claim (V-B, of attention from a random start): it starts above linear and ends "
        "above it, 9.645 against 1.9086 and 0.7318 against 0.0006.",
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            interval_column(f"At step {steps[0]}", "first", show),
            text_column("Starts", "starts"),
            interval_column(f"At step {steps[-1]}", "last", show),
            text_column("Ends", "ends"),
        ),
        findings=_of_attention(rows),
    )


def _with_losses(tuning: FineTuning) -> list[Variant]:
    variants = [variant for variant in tuning.variants if variant.curves]
    if not variants:
        raise MissingDataError("the files hold no losses of a trained router")
    return variants


def _thinned(steps: Sequence[int]) -> list[int]:
    """At most so many steps, evenly, the first and the last among them."""
    if len(steps) <= _SHOWN_STEPS:
        return list(steps)
    apart = (len(steps) - 1) / (_SHOWN_STEPS - 1)
    return [steps[round(place * apart)] for place in range(_SHOWN_STEPS)]


def _paper_row(router: str, curve: Curve, steps: Sequence[int]) -> dict[str, object]:
    row: dict[str, object] = {"router": router, "start": _PAPERS_START, "source": f"the paper ({curve.locator})"}
    for step in steps:
        printed = curve.losses.get(step)
        row |= {f"loss_{step}": None, f"loss_{step}_sd": None, f"printed_{step}": printed.text if printed else None}
    return row | {"verdict": None}


def _row(variant: Variant, steps: Sequence[int]) -> dict[str, object]:
    seeds = len(variant.curves)
    row: dict[str, object] = {
        "router": variant.router,
        "start": variant.initialise,
        "source": f"{seeds} {'seed' if seeds == 1 else 'seeds'}",
    }
    for step in steps:
        logged, known = variant.trained.at(step, lambda log: log.step), variant.trained.at(step, lambda log: log.loss)
        # A mean of those seeds alone that did not diverge would flatter.
        row |= spread_fields(f"loss_{step}", known.values() if len(known) == len(logged) else ())
        row[f"printed_{step}"] = None
    claim = judge_decrease(variant.curves.values())
    return row | {"verdict": str(claim) if claim else None}


def _loss(mean: object, sd: object, printed: object) -> str:
    return spread(fixed(4))(mean, sd) if missing(printed) else str(printed)


def _difference_row(base: Variant, variant: Variant) -> dict[str, object]:
    steps = sorted(set(base.trained.steps) & set(variant.trained.steps))
    row: dict[str, object] = {"router": variant.router, "start": variant.initialise}
    for name, word, step in (("first", "starts", steps[0]), ("last", "ends", steps[-1])):
        difference = paired_difference(
            base.trained.at(step, lambda log: log.loss), variant.trained.at(step, lambda log: log.loss)
        )
        row |= interval_fields(name, difference)
        row[f"{word}_above"] = str(judge_shift(difference, +1, _NEGLIGIBLE))
        row[word] = _SIDES[judge_shift(difference, +1, _NEGLIGIBLE)]
    return row


def _of_attention(rows: Sequence[dict[str, object]]) -> tuple[str, ...]:
    return tuple(
        f"Attention against linear (V-B), {row['start']} start: the claim that its loss starts above linear's "
        f"{_claim(row, 'starts', 'first')}; the claim that it ends above linear's {_claim(row, 'ends', 'last')}."
        for row in rows
        if row["router"] == "attention"
    )


def _claim(row: dict[str, object], word: str, field: str) -> str:
    verdict = str(row[f"{word}_above"])
    difference = interval(fixed(4, signed=True))(row[field], row[f"{field}_low"], row[f"{field}_high"])
    return f"{'is ' if verdict == Claim.UNCLEAR else ''}{verdict} ({difference})"
