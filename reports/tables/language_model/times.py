"""What a router costs inside a language model, beside the model's own gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import DASH, count, duration, mebibytes, missing, ratio, sentence, some_of
from reports.format.table import EXPERTS, ROUTER_AND_START, Column, Table, interval_column, verdict_column
from reports.judging.order import STOCK
from reports.judging.standing import UNSEPARATED, Standing, judge
from reports.records.measurements import LanguageEntry
from reports.records.models import model_sentence
from reports.records.report_data import ReportData
from reports.tables.ranking import ALL_OTHERS, among, apart, equals, why_unranked
from reports.tables.times.costs import PEAK_MEMORY

_NOTES = (
    "Parameters: all of a model's routers'. Experts: what a token selects, which is work of the model and no router's.",
)
_STANDING = (PEAK_MEMORY, "Standing is to the model with its own gates; the page's end defines it.")
_SIZES = ("batch_size", "sequence_length", "layers", "num_experts", "top_k", "hidden_size")


@registry.table("language-model", "Inside a language model", place=1, timed=True)
def summary(data: ReportData) -> Table:
    """Ratios to the model's own gates, a row per router and start, a column per scenario."""
    if not data.language:
        raise MissingDataError("the files hold no benchmark inside a language model")
    found, records = dict.fromkeys(entry.scenario for entry in data.language), data.scenarios("language_model")
    scenarios = sorted(found, key=[*records, *found].index)
    by_scenario = {scenario: {_who(entry): entry for entry in data.inside(scenario)} for scenario in scenarios}
    everyone = dict.fromkeys(who for entries in by_scenario.values() for who in entries)
    rows = [_summary_row(*who, {name: entries.get(who) for name, entries in by_scenario.items()}) for who in everyone]
    return Table(
        name="language-model",
        title="Inside a language model: ratios to stock",
        caption="Time of a call over that of the same model with its own gates in the same interleaved run, with 95 % "
        "intervals over processes. Most of a call is the model and no router; one that selects another number of "
        "experts changes the model's work too.",
        notes=(_models(data, data.language), *_NOTES),
        rows=rows,
        columns=(
            *ROUTER_AND_START,
            Column("Parameters", ("parameters",), count),
            EXPERTS,
            *(interval_column(records[name].label if name in records else name, name, ratio) for name in scenarios),
        ),
    )


@registry.table("language-model", "Inside: {}", place=2, keys=lambda data: data.scenarios("language_model"), timed=True)
def scenario(name: str, data: ReportData) -> Table:
    """One scenario: time, parameters and memory, and which routers cannot be told from the model's own."""
    entries = data.inside(name)
    standings = standings_to_stock(entries)
    record = data.scenarios("language_model")[name]
    # Of one token a call and a token are the same time.
    several = any(entry.timing.tokens_per_call != 1 for entry in entries)
    return Table(
        name=f"language-model-{name}",
        title=f"Inside a language model: {record.label.lower()}",
        caption=f"{_call(record.description, entries[0])} Ratio: to the time of {entries[0].timing.baseline}, with its "
        "95 % interval over processes.",
        notes=(_models(data, entries), *_NOTES, *_STANDING),
        rows=[_row(entry) | {"standing": standings.get(id(entry))} for entry in entries],
        columns=(
            *ROUTER_AND_START,
            Column("Parameters", ("parameters",), count),
            EXPERTS,
            Column("Time of a call", ("us_per_call",), duration),
            *((Column("Per token", ("ns_per_token",), _nanoseconds),) if several else ()),
            interval_column(f"Ratio to {entries[0].timing.baseline}", "ratio", ratio),
            verdict_column("Standing", "standing"),
            Column("Peak memory (MiB)", ("peak_memory",), mebibytes),
        ),
        findings=_conclusion(record.label.lower(), entries, standings, data),
    )


def standings_to_stock(entries: Sequence[LanguageEntry]) -> dict[int, Standing]:
    """By the identity of an entry: how it stands to the model's own gates."""
    replaced = [entry for entry in entries if entry.router != STOCK]
    return dict(zip(map(id, replaced), judge([entry.timing.shift for entry in replaced]), strict=True))


def _who(entry: LanguageEntry) -> tuple[str, str]:
    return entry.router, entry.initialise


def _summary_row(router: str, start: str, entries: Mapping[str, LanguageEntry | None]) -> dict[str, object]:
    row: dict[str, object] = {
        "router": router,
        "start": start,
        "parameters": next(entry.parameters for entry in entries.values() if entry),
        "experts_per_token": next(entry.experts_per_token for entry in entries.values() if entry),
    }
    for name, entry in entries.items():
        row |= interval_fields(name, entry.timing.ratio if entry else None)
    return row


def _row(entry: LanguageEntry) -> dict[str, object]:
    timing = entry.timing
    return {
        "router": entry.router,
        "start": entry.initialise,
        "parameters": entry.parameters,
        "experts_per_token": entry.experts_per_token,
        "us_per_call": timing.us_per_call,
        "ns_per_token": timing.ns_per_token,
        **interval_fields("ratio", timing.ratio),
        **interval_fields("noise_floor", timing.noise_floor),
        "peak_memory": entry.peak_memory,
    }


def _models(data: ReportData, entries: Sequence[LanguageEntry]) -> str:
    """The model, in the words of the newest file; files with another are refused when they are read."""
    return model_sentence(data.sources[max(entry.source for entry in entries)].language_model)


def _call(does: str, entry: LanguageEntry) -> str:
    """What a call does, and in what."""
    size = {name: f"{entry.sizes[name]:,}" if name in entry.sizes else "?" for name in _SIZES}
    return (
        f"{sentence(does)} {size['layers']} layers of {size['num_experts']} experts, top {size['top_k']}, hidden size "
        f"{size['hidden_size']}."
    )


def _nanoseconds(value: float | None) -> str:
    return DASH if value is None or missing(value) else duration(value / 1e3)


def _conclusion(
    label: str, entries: Sequence[LanguageEntry], standings: Mapping[int, Standing], data: ReportData
) -> tuple[str, ...]:
    """Who of equals is level with the model's own gates, who costs least and most, and who stands apart."""
    replaced = [entry for entry in entries if entry.router != STOCK]
    if not replaced:
        return ()
    what = f"Inside a language model, {label}"
    same, others = equals(replaced)
    reason = why_unranked(data, entries, (entry.router for entry in data.language))
    if reason or not same:
        return (f"{what}: nobody is named, {reason or ALL_OTHERS}.",)
    free = list(dict.fromkeys(entry.router for entry in same if standings[id(entry)] in UNSEPARATED))
    everyone = dict.fromkeys(entry.router for entry in same)
    ranked = sorted(same, key=lambda entry: entry.timing.ratio.estimate)
    least, most = ranked[0], ranked[-1]
    if len(same) > 1 and all(standings[id(entry)] in UNSEPARATED for entry in same):
        parts = [f"all are level with {STOCK}"]
    else:
        parts = [f"level with {STOCK}: {some_of(free, everyone)}"]
        parts += [f"cheapest: {_named(least)}"] if least is not most else []
        parts += [f"most expensive: {_named(most)}"]
    parts += [apart(others, _named)] if others else []
    return (f"{what}, {among(least)}: {'; '.join(parts)}.",)


def _named(entry: LanguageEntry) -> str:
    return f"{entry.router}, {ratio(entry.timing.ratio.estimate)} times {entry.timing.baseline}"
