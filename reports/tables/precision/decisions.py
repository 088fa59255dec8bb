"""How often routers decide otherwise in another precision than float64, and how close their decisions are.

Everything stands in two tables for the inputs, rows of which are inputs and routers, and in two for a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.format import registry
from reports.format.fields import spread_fields
from reports.format.inputs import input_column
from reports.format.numbers import by_format, listing, scientific_spread, share_interval, some_of
from reports.format.table import EXPERTS, ROUTER_AND_START, Column, Table, text_column
from reports.judging.intervals import paired_difference
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData
from reports.tables.precision.headline import (
    HEADLINE,
    compared,
    flips_column,
    headline_input,
    inputs_compared,
    share_fields,
    stat_of,
)
from reports.tables.precision.inside import inside_compared
from reports.tables.ranking import ALL_OTHERS, among, apart, equals, why_unranked

_SHARE = by_format(".2%")
AnyEntries = Sequence[Entry] | Sequence[LanguageEntry]


@registry.table(
    "precision", "Decisions in another precision", place=1, keys=lambda data: _on_inputs(data) and ["inputs"]
)
def changes(_: str, data: ReportData) -> Table:
    """A row per input and router: flips, and tokens changed in each precision."""
    entries = _on_inputs(data)
    headline = headline_input(data)
    leading = [entry for entry in entries if entry.input == headline]
    return Table(
        name="precision",
        title="Decisions that another precision than float64 changes",
        caption=f"{_CHANGES}{_undefined(entries, 'changed_tokens')}",
        notes=_notes(data),
        rows=[_who(entry) | _changes_row(data, entry) for entry in entries],
        columns=(input_column(data), text_column("Router", "router"), EXPERTS, *_changes_columns(data)),
        findings=_conclusion(str(headline), leading, data) if leading else (),
    )


@registry.table("precision", "Margins and weight errors", place=2, keys=lambda data: _on_inputs(data) and ["inputs"])
def margins(_: str, data: ReportData) -> Table:
    """A row per input and router: how close the decisions are, and how far the weights are off."""
    entries = _on_inputs(data)
    return Table(
        name="precision-margins",
        title="Margins in float64, and errors of the weights",
        caption=f"{_MARGINS}{_undefined(entries, 'rank_margin_median')}",
        notes=_notes(data),
        rows=[_who(entry) | _margins_row(data, entry) for entry in entries],
        columns=(input_column(data), text_column("Router", "router"), EXPERTS, *_margins_columns(data)),
    )


@registry.table(
    "precision",
    "Decisions inside a language model",
    place=3,
    keys=lambda data: inside_compared(data) and ["all layers"],
)
def changes_inside(_: str, data: ReportData) -> Table:
    """The same at the layers of a language model, all of them together."""
    entries = inside_compared(data)
    return Table(
        name="precision-language-model",
        title="Inside a language model: decisions that another precision changes",
        caption=f"{_INSIDE} {_CHANGES}{_undefined(entries, 'changed_tokens')}",
        notes=_notes(data),
        rows=[_who(entry) | _changes_row(data, entry) for entry in entries],
        columns=(*ROUTER_AND_START, EXPERTS, *_changes_columns(data)),
    )


@registry.table(
    "precision", "Margins inside a language model", place=4, keys=lambda data: inside_compared(data) and ["all layers"]
)
def margins_inside(_: str, data: ReportData) -> Table:
    """Likewise how close they are."""
    entries = inside_compared(data)
    return Table(
        name="precision-margins-language-model",
        title="Inside a language model: margins in float64, and errors of the weights",
        caption=f"{_INSIDE} {_MARGINS}{_undefined(entries, 'rank_margin_median')}",
        notes=_notes(data),
        rows=[_who(entry) | _margins_row(data, entry) for entry in entries],
        columns=(*ROUTER_AND_START, EXPERTS, *_margins_columns(data)),
    )


_CHANGES = (
    "Tokens changed: share of tokens with another set of experts than float64 gives them, in each precision. Flips: "
    "share of assignments that went to another expert. Mean [95 % interval] over seeds."
)
_MARGINS = (
    "Margin: float64's gap between the last ranked value that is selected and the next, in the units of what is ranked "
    "(logits of a softmax); the closer, the sooner rounding decides. Weight error: the largest, of tokens whose set is "
    "the same. Mean ± sd over seeds; e-3 is a thousandth."
)
_INSIDE = (
    "On what the model's own gates are given at its layers while it reads text, all layers together; each seed has "
    "routers and a passage of its own. Stock: the gates' own weights and rule."
)


def _on_inputs(data: ReportData) -> list[Entry]:
    """The router alone, where anything was compared with float64; empty where nothing was."""
    return [entry for name in inputs_compared(data) for entry in data.find("router", name).values()]


def _notes(data: ReportData) -> tuple[str, ...]:
    """What each precision is."""
    return tuple(f"{record.label}: {record.definition}." for record in data.precisions.values())


def _who(entry: Entry | LanguageEntry) -> dict[str, object]:
    where = {"input": entry.input} if isinstance(entry, Entry) else {"start": entry.initialise}
    undefined = entry.precision.undefined if entry.precision else None
    return {"router": entry.router, **where, "experts_per_token": entry.experts_per_token, "undefined": undefined}


def _changes_row(data: ReportData, entry: Entry | LanguageEntry) -> dict[str, object]:
    row: dict[str, object] = {**share_fields("flips", stat_of(entry, HEADLINE, "flip_rate"))}
    for name in data.precisions:
        row |= share_fields(f"changed_{name}", stat_of(entry, name, "changed_tokens"))
        for quantity in ("flip_rate", "moved_weight"):
            row |= spread_fields(f"{quantity}_{name}", list(stat_of(entry, name, quantity).known.values()))
    return row


def _margins_row(data: ReportData, entry: Entry | LanguageEntry) -> dict[str, object]:
    quantities = [(quantity, HEADLINE, quantity) for quantity in ("rank_margin_median", "rank_margin_p05")]
    quantities += [(f"weight_error_{name}", name, "weight_error") for name in data.precisions]
    row: dict[str, object] = {}
    for field, precision, quantity in quantities:
        row |= spread_fields(field, list(stat_of(entry, precision, quantity).known.values()))
    return row


def _changes_columns(data: ReportData) -> list[Column]:
    return [
        flips_column(f"Flips: {_label(data, HEADLINE)}"),
        *_of_each(data, "Tokens changed: {}", "changed_{}", ("", "_low", "_high"), share_interval),
    ]


def _margins_columns(data: ReportData) -> list[Column]:
    ends = ("", "_sd")
    return [
        Column("Margin, median", tuple(f"rank_margin_median{end}" for end in ends), scientific_spread),
        Column("Margin, 5 % quantile", tuple(f"rank_margin_p05{end}" for end in ends), scientific_spread),
        *_of_each(data, "Weight error: {}", "weight_error_{}", ends, scientific_spread),
    ]


def _of_each(
    data: ReportData, heading: str, field: str, ends: tuple[str, ...], show: Callable[..., str]
) -> list[Column]:
    """A column for each precision."""
    return [
        Column(heading.format(_label(data, name)), tuple(f"{field.format(name)}{end}" for end in ends), show)
        for name in data.precisions
    ]


def _label(data: ReportData, precision: str) -> str:
    return data.precisions[precision].label if precision in data.precisions else precision


def _undefined(entries: AnyEntries, quantity: str) -> str:
    """Why there are dashes where a quantity should stand, a reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.precision and entry.precision.undefined and not stat_of(entry, HEADLINE, quantity).known:
            reasons.setdefault(entry.precision.undefined, {})[entry.router] = None
    said = [f"{listing(list(routers))} ({reason})" for reason, routers in reasons.items()]
    return f" A dash: not defined of {listing(said)}." if said else ""


def _conclusion(input_name: str, entries: Sequence[Entry], data: ReportData) -> tuple[str, ...]:
    """Which router decides otherwise most often, among those that select as many experts, and by how much."""
    of_all = compared(entries)
    same, others = equals(of_all)
    what = f"In bfloat16, on “{input_name}”"
    reason = why_unranked(data, of_all, data.routers)
    if reason or not same:
        return (f"{what}: nobody is named who decides otherwise most often, {reason or ALL_OTHERS}.",)
    ranked = sorted(same, key=_changed, reverse=True)
    most, least = ranked[0], ranked[-1]
    level = [entry.router for entry in ranked[1:] if not _separate(entry, most)]
    parts = [f"decides otherwise most often, {among(most)}: {_named(most)}"]
    unlike = some_of(level, [each.router for each in ranked[1:]], "others")
    parts[0] += f", not told apart from {unlike}" if level else ""
    parts += [f"least often: {_named(least)}"] if least is not most and least.router not in level else []
    parts += [apart(others, _named)] if others else []
    return (f"{what}, {'; '.join(parts)}.",)


def _changed(entry: Entry) -> float:
    return stat_of(entry, HEADLINE, "changed_tokens").mean or 0.0


def _separate(entry: Entry, most: Entry) -> bool:
    """Whether the interval of the difference, paired by seed, leaves 0 out."""
    first, second = (stat_of(each, HEADLINE, "changed_tokens").known for each in (entry, most))
    difference = paired_difference(first, second)
    return difference is not None and not difference.holds(0)


def _named(entry: Entry) -> str:
    changed, flips = (stat_of(entry, HEADLINE, quantity).mean for quantity in ("changed_tokens", "flip_rate"))
    return f"{entry.router}, {_SHARE(changed)} of tokens and {_SHARE(flips)} of assignments"
