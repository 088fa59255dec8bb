"""How often routers decide otherwise in another precision than float64, by input and inside a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from reports.format import registry
from reports.format.fields import interval_fields, spread_fields
from reports.format.numbers import by_format, interval, listing, sentence, significant, some_of
from reports.format.table import EXPERTS, ROUTER_AND_START, Column, Table, interval_column, spread_column, text_column
from reports.judging.intervals import paired_difference
from reports.records.measurements import Entry, LanguageEntry
from reports.records.precision import Precision
from reports.records.report_data import ReportData
from reports.records.stat import NO_STAT, Stat
from reports.tables.ranking import among, apart, equals, why_unranked

HEADLINE = "bfloat16"
"""The precision of the headline: all that rounding does, storing and arithmetic."""
_LEADING = "contextual"
_SHARE = by_format(".2%")
_MEANING = (
    "Tokens changed: share of tokens with another set of experts than float64 gives them. Flips: share of assignments "
    "that went to another expert. Margin: float64's gap between the last ranked value that is selected and the next, "
    "in the units of what is ranked (logits of a softmax). Weight error: the largest, of tokens whose set is the same. "
)

AnyEntry = TypeVar("AnyEntry", Entry, LanguageEntry)


def compared(entries: Sequence[AnyEntry]) -> list[AnyEntry]:
    """Those of which some precision was compared with float64."""
    return [entry for entry in entries if entry.precision and entry.precision.compared]


def inputs_compared(data: ReportData) -> list[str]:
    """The inputs on which it was, in the order of the page."""
    return [name for name in registry.inputs_shown(data) if compared(list(data.find("router", name).values()))]


def inside_compared(data: ReportData) -> list[LanguageEntry]:
    """One benchmark of each router inside a language model: what they decide is the same in each scenario."""
    found = {(entry.router, entry.initialise): entry for entry in compared(list(data.language))}
    everyone = [entry for name in data.scenarios("language_model") for entry in data.language if entry.scenario == name]
    return [found.pop(who) for entry in everyone if (who := (entry.router, entry.initialise)) in found]


def headline_input(data: ReportData) -> str | None:
    """The input of the headline: contextual embeddings, or else the one of usual size."""
    inputs = inputs_compared(data)
    return _LEADING if _LEADING in inputs else registry.of_usual_size(data, inputs)


def headline_fields(data: ReportData, router: str) -> dict[str, float | None]:
    """A router's flips in bfloat16 on the input of the headline, as fields `flips` of a row."""
    name = headline_input(data)
    entry = None if name is None else data.find("router", name).get(router)
    return _interval("flips", _stat(entry, HEADLINE, "flip_rate"))


HEADLINE_COLUMN = Column("Flips in bfloat16", ("flips", "flips_low", "flips_high"), interval(_SHARE))


def headline_caption(data: ReportData) -> str:
    """What the column says, for a table of another input."""
    name = headline_input(data)
    return "" if name is None else f" Flips in bfloat16: share of assignments that change, on “{name}”, over seeds."


@registry.table("precision", "Precision on “{}”", place=1, keys=inputs_compared)
def precision(input_name: str, data: ReportData) -> Table:
    """What each precision does on an input, a row per router."""
    entries = data.select("router", input_name)
    return Table(
        name=f"precision-{input_name}",
        title=f"Decisions in another precision than float64, on “{input_name}”",
        caption=f"{sentence(data.inputs[input_name].description)} {_MEANING}{_definitions(data)} Mean [95 % interval] "
        f"or ± sd over seeds.{_undefined(entries)}",
        rows=[
            {"router": entry.router, "experts_per_token": entry.experts_per_token} | _row(data, entry)
            for entry in entries
        ],
        columns=(text_column("Router", "router"), EXPERTS, *_columns(data)),
        findings=_conclusion(input_name, entries, data) if input_name == headline_input(data) else (),
    )


@registry.table(
    "precision",
    "Precision inside a language model",
    place=2,
    keys=lambda data: inside_compared(data) and ["all layers"],
)
def inside(_: str, data: ReportData) -> Table:
    """The same at the layers of a language model, all of them together."""
    entries = inside_compared(data)
    return Table(
        name="precision-language-model",
        title="Decisions in another precision than float64, inside a language model",
        caption="On what the model's own gates are given at its layers while it reads text, all layers together. "
        f"Stock: the gates' own weights and rule. {_MEANING}{_definitions(data)} Mean [95 % interval] or ± sd over "
        f"seeds, each with routers and a passage of its own.{_undefined(entries)}",
        rows=[
            {"router": entry.router, "start": entry.initialise, "experts_per_token": entry.experts_per_token}
            | _row(data, entry)
            for entry in entries
        ],
        columns=(*ROUTER_AND_START, EXPERTS, *_columns(data)),
    )


@registry.table(
    "precision", "Precision layer by layer", place=3, keys=lambda data: inside_compared(data) and ["layer by layer"]
)
def by_layer(_: str, data: ReportData) -> Table:
    """Tokens changed in bfloat16, a row per layer and a column per router."""
    entries = [entry for entry in inside_compared(data) if entry.precision and entry.precision.layers]
    paths = list(dict.fromkeys(path for entry in entries if entry.precision for path in entry.precision.layers))
    rows = [{"layer": path} | {entry.router: _changed_at(path, entry.precision) for entry in entries} for path in paths]
    return Table(
        name="precision-layers",
        title="Tokens whose set of experts bfloat16 changes, layer by layer",
        caption="Mean over seeds of the share of tokens, at each layer of the language model with experts.",
        rows=rows,
        columns=(text_column("Layer", "layer"), *(Column(entry.router, (entry.router,), _SHARE) for entry in entries)),
    )


def _undefined(entries: Sequence[Entry | LanguageEntry]) -> str:
    """Why there are dashes, a reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.precision and entry.precision.undefined:
            reasons.setdefault(entry.precision.undefined, {})[entry.router] = None
    said = [f"{listing(list(routers))} ({reason})" for reason, routers in reasons.items()]
    return f" A dash: not defined of {listing(said)}." if said else ""


def _changed_at(path: str, found: Precision | None) -> float | None:
    changes = found.layers.get(path, {}).get(HEADLINE) if found else None
    return changes.changed_tokens.mean if changes else None


def _definitions(data: ReportData) -> str:
    return " ".join(f"{record.label}: {record.definition}." for record in data.precisions.values())


def _row(data: ReportData, entry: Entry | LanguageEntry) -> dict[str, object]:
    row: dict[str, object] = {**_interval("flips", _stat(entry, HEADLINE, "flip_rate"))}
    for name in data.precisions:
        row |= _interval(f"changed_{name}", _stat(entry, name, "changed_tokens"))
        for quantity in ("flip_rate", "weight_error", "moved_weight"):
            row |= _spread(f"{quantity}_{name}", _stat(entry, name, quantity))
    for quantity in ("rank_margin_median", "rank_margin_p05"):
        row |= _spread(quantity, _stat(entry, HEADLINE, quantity))
    row |= _spread(f"weight_error_{HEADLINE}", _stat(entry, HEADLINE, "weight_error"))
    return row | {"undefined": entry.precision.undefined if entry.precision else None}


def _columns(data: ReportData) -> tuple[Column, ...]:
    labels = {name: record.label for name, record in data.precisions.items()}
    return (
        HEADLINE_COLUMN,
        *(interval_column(f"Tokens changed: {label}", f"changed_{name}", _SHARE) for name, label in labels.items()),
        spread_column("Margin, median", "rank_margin_median", significant),
        spread_column("Margin, 5 % quantile", "rank_margin_p05", significant),
        *(
            spread_column(f"Weight error: {label}", f"weight_error_{name}", significant)
            for name, label in labels.items()
        ),
    )


def _stat(entry: Entry | LanguageEntry | None, precision: str, quantity: str) -> Stat:
    return NO_STAT if entry is None or entry.precision is None else entry.precision.stat(precision, quantity)


def _interval(prefix: str, stat: Stat) -> dict[str, float | None]:
    """A share's mean and interval, whose ends stay within 0 and 1."""
    found: Mapping[str, float | None] = interval_fields(prefix, stat.interval)
    return {name: None if value is None else min(1.0, max(0.0, value)) for name, value in found.items()}


def _spread(prefix: str, stat: Stat) -> dict[str, float | None]:
    return spread_fields(prefix, list(stat.known.values()))


def _conclusion(input_name: str, entries: Sequence[Entry], data: ReportData) -> tuple[str, ...]:
    """Which router decides otherwise most often, among those that select as many experts, and by how much."""
    of_all = compared(entries)
    same, others = equals(of_all)
    what = f"In bfloat16, on “{input_name}”"
    reason = why_unranked(data, of_all, data.routers)
    if reason or not same:
        return (f"{what}: nobody is named who decides otherwise most often, {reason or 'all select another number'}.",)
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
    return _stat(entry, HEADLINE, "changed_tokens").mean or 0.0


def _separate(entry: Entry, most: Entry) -> bool:
    """Whether the interval of the difference, paired by seed, leaves 0 out."""
    first, second = (_stat(each, HEADLINE, "changed_tokens").known for each in (entry, most))
    difference = paired_difference(first, second)
    return difference is not None and not difference.holds(0)


def _named(entry: Entry) -> str:
    changed, flips = (_stat(entry, HEADLINE, quantity).mean for quantity in ("changed_tokens", "flip_rate"))
    return f"{entry.router}, {_SHARE(changed)} of tokens and {_SHARE(flips)} of assignments"
