"""A row for each router: what it costs, how evenly it spreads the load, and what is concluded of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reports.errors import MissingDataError
from reports.format.fields import interval_fields, spread_fields
from reports.format.inputs import quoted
from reports.format.numbers import DASH, bounds, by_format, exact, fixed, missing, percents, significant, spread
from reports.format.table import Column, Table, text_column, verdict_column
from reports.judging.order import STOCK
from reports.judging.standing import UNSEPARATED, Standing
from reports.judging.verdict import Verdict
from reports.overview.against_paper import COMPARED, verdicts
from reports.overview.by_seed import Smallest
from reports.overview.evenness import largest_loads, most_even_of
from reports.overview.headline import (
    alone,
    inside,
    inside_scenario,
    on_text,
    routers,
    row_ids,
    text_input,
    timed_input,
)
from reports.overview.interval_bar import interval_bar
from reports.overview.perplexities import COMMAND, perplexities
from reports.records.measurements import Entry, LanguageEntry
from reports.records.report_data import ReportData
from reports.tables.language_model.times import standings_to_stock
from reports.tables.precision.headline import headline_fields, headline_input
from reports.tables.ranking import by_time, equals, why_unranked

_SHARE = by_format(".2%")


def routers_table(data: ReportData, prefix: str = "router") -> Table:
    """The first screen's table; a number that does not exist is a dash with its reason.

    Args:
        data: of one machine and setting.
        prefix: what the ids of its rows begin with.
    """
    names = routers(data)
    if not names:
        raise MissingDataError("the files hold no router")
    ids = row_ids(names, prefix)
    found = _Found(data)
    rows = [found.row(name) for name in names]
    times = [entry.timing.ratio for entry in found.alone.values()]
    baseline = next((entry.timing.baseline for entry in found.alone.values()), "the baseline")
    tokens = next((f"{entry.num_tokens:,} tokens, " for entry in found.alone.values()), "")
    return Table(
        name="routers",
        title="Routers",
        caption=_caption(data, f"{tokens}as a ratio to {baseline}"),
        rows=rows,
        columns=(
            # What answers comes first: on a phone there is room for these four.
            text_column("Router", "router"),
            Column(
                f"Time / {baseline}",
                ("ratio", "ratio_low", "ratio_high"),
                _ratio,
                picture=interval_bar(times),
                why="ratio_missing",
            ),
            Column("Largest load", ("max_load", "max_load_sd"), percents, why="max_load_missing"),
            verdict_column("Verdict", "verdict"),
            Column("Experts", ("experts_per_token",), exact, why="experts_missing"),
            Column("One token", ("token", "token_low", "token_high"), _ratio, why="token_missing"),
            Column("Flips in bfloat16", ("flips",), _SHARE, why="flips_missing"),
            Column(
                f"{(inside_scenario(data) or 'Inside').capitalize()} / own gates",
                ("inside", "inside_low", "inside_high", "inside_standing"),
                _inside,
                why="inside_missing",
            ),
            *(
                [
                    Column(
                        "Perplexity",
                        ("perplexity", "perplexity_sd", "perplexity_start"),
                        _perplexity,
                        why="perplexity_missing",
                    )
                ]
                if data.fine_tuning
                else []
            ),
            Column("Over floor", ("over_floor",), significant, why="over_floor_missing"),
        ),
        row_ids=ids,
    )


def _caption(data: ReportData, time: str) -> str:
    """What is to be seen, column by column."""
    within = (inside_scenario(data) or "inside").capitalize()
    names = timed_input(data) or "random", text_input(data) or "text", headline_input(data) or "text"
    timed, text, flips = (quoted(data, name) for name in names)
    perplexity = "Perplexity: after fine-tuning, of the better start. " if data.fine_tuning else ""
    return (
        f"Time: the router alone on {timed}, {time} with its 95 % interval over processes, drawn on a log scale with "
        f"a line at 1. Largest load: the busiest expert's share of all assignments on {text}, mean ± sd over seeds. "
        "Verdict: judged among routers that select as many experts, the others are not ranked; less even are those "
        "shown to be, and a router without such a word is not told apart from the most even; paper: how many of its "
        "numbers are reproduced, of those that can be. Experts: how many a token selects outside a model. One token: "
        f"the router and its experts, as a ratio. Flips: share of assignments that bfloat16 changes on {flips}; to a "
        f"router that hashes values a rounded one is another. {within}: inside a language model{_own_top_k(data)}, as "
        "a ratio to its own gates; ≈ where it is not told apart from them, corrected for the number of comparisons "
        f"(Holm), as the interval is not. {perplexity}Over floor: the time over that of the bare matrix products and "
        "one read of the input."
    )


def _own_top_k(data: ReportData) -> str:
    """How many experts a token selects there."""
    sizes = next((entry.sizes for entry in inside(data)), {})
    top_k, experts = sizes.get("top_k"), sizes.get("num_experts")
    return f" (top {top_k} of {experts} experts)" if top_k and experts else ""


class _Found:
    """What there is of each router, each part looked for once."""

    def __init__(self, data: ReportData) -> None:
        self._data = data
        self.alone = alone(data)
        self._token = alone(data, "token")
        self._text = on_text(data)
        self._inside: dict[str, LanguageEntry] = {}
        entries = inside(data)
        for entry in entries:
            self._inside.setdefault(entry.router, entry)
        self._standings = standings_to_stock(entries)
        self._read = perplexities(data)
        self._paper = verdicts(data)
        self._by_time = _by_time(_ranked(self.alone, data))
        self._by_evenness = most_even_of(_ranked(self._text, data))

    def row(self, router: str) -> dict[str, object]:
        """Full-precision fields, and the reason for each that does not exist."""
        entry, token, text = self.alone.get(router), self._token.get(router), self._text.get(router)
        within, read = self._inside.get(router), self._read.get(router)
        loads = largest_loads(text) if text else {}
        floor = entry.timing.floor if entry else None
        flips = headline_fields(self._data, router)
        experts = next((each.experts_per_token for each in (entry, token, text, within) if each), None)
        standing = self._standings.get(id(within)) if within else None
        return {
            "router": router,
            "experts_per_token": experts,
            "experts_missing": _because(experts, "its number is not stated"),
            "us_per_call": entry.timing.us_per_call if entry else None,
            **interval_fields("ratio", entry.timing.ratio if entry else None),
            "ratio_missing": _because(entry, f"not measured alone on “{timed_input(self._data) or 'random'}”"),
            **interval_fields("token", token.timing.ratio if token else None),
            "token_missing": _because(token, "not measured with one token"),
            **spread_fields("max_load", list(loads.values())),
            "max_load_missing": _because(loads, "no load on text was measured"),
            **flips,
            "flips_missing": _because(flips["flips"] is not None, "not compared with float64"),
            **interval_fields("inside", within.timing.ratio if within else None),
            "inside_standing": str(standing) if standing else None,
            "inside_missing": _because(within, "not measured inside a language model"),
            **spread_fields("perplexity", list(read.by_seed.values()) if read else []),
            "perplexity_start": read.start if read else None,
            "perplexity_missing": _because(read, f"not fine-tuned ({COMMAND.format('NAME')})"),
            "over_floor": floor.ratio.estimate if floor else None,
            "over_floor_missing": _because(floor, "no floor was measured"),
            "verdict": self._verdict(router, entry or text or within),
        }

    def _verdict(self, router: str, entry: Entry | LanguageEntry | None) -> str | None:
        said = []
        if entry is not None and entry.experts_per_token != entry.top_k:
            said.append("not ranked")
        said += _place(router, self._by_time, "fastest", "level with the fastest")
        said += _place(router, self._by_evenness, "most even", "", "less even")
        tally = self._paper.get(router, Counter())
        numbers = sum(tally[verdict] for verdict in COMPARED)
        said += [f"paper {tally[Verdict.REPRODUCED]}/{numbers}"] if numbers else []
        return ", ".join(said) or ("the model's own" if router == STOCK else None)


def _ranked(entries: Mapping[str, Entry], data: ReportData) -> list[Entry]:
    """Those of equal work among whom one may be named the first; nobody where a router is missing."""
    same, _ = equals(list(entries.values()))
    return [] if why_unranked(data, list(entries.values()), data.routers) else same


def _by_time(entries: list[Entry]) -> Smallest[str] | None:
    if not entries:
        return None
    ranking = by_time(entries)
    return Smallest(
        ranking.first.router,
        [entry.router for entry in ranking.level],
        [entry.router for entry in ranking.behind],
    )


def _place(router: str, ranking: Smallest[str] | None, best: str, level: str, behind: str = "") -> list[str]:
    """A word for one's place; nothing where there is none, and where the place has no word."""
    if ranking is None:
        return []
    words = dict.fromkeys(ranking.behind, behind) | dict.fromkeys(ranking.level, level) | {ranking.first: best}
    return [word] if (word := words.get(router)) else []


def _because(found: object, reason: str) -> str | None:
    return None if found else reason


def _ratio(estimate: float | None, low: float | None, high: float | None) -> str:
    """The baseline's ratio to itself has no interval worth the room."""
    if missing(estimate):
        return DASH
    shown = significant(estimate)
    return shown if missing(low) or missing(high) or low == high else f"{shown} {bounds(significant)(low, high)}"


def _inside(estimate: float | None, low: float | None, high: float | None, standing: str | None) -> str:
    level = not missing(standing) and standing is not None and Standing(standing) in UNSEPARATED
    return f"≈ {_ratio(estimate, low, high)}" if level else _ratio(estimate, low, high)


def _perplexity(mean: float | None, sd: float | None, start: str | None) -> str:
    shown = spread(fixed(2))(mean, sd)
    return shown if missing(mean) or missing(start) else f"{shown} ({start})"
