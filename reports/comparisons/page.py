"""A comparison as a page: one sentence, the counts, what changed with a forest plot, and everything else folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.comparisons.comparison import Comparison, Row
from reports.comparisons.forest import COLOURS, forest
from reports.comparisons.ratio_forest import COLOURS as RATIO_COLOURS
from reports.comparisons.ratio_forest import conclusion, ratio_forest
from reports.comparisons.ratios import RatioRow
from reports.comparisons.words import counted, counts, name, notes, percentage, ratio_words, sentence, side, summary
from reports.format.fields import interval_fields
from reports.format.numbers import DASH, duration, exact, listing, ratio, within
from reports.format.table import Column, Table, interval_column, text_column, verdict_column
from reports.page.simple import Drawing, Section, simple_files

# A plot of more rows is no picture.
_MOST_DRAWN = 60
_CLASSES = {f"{change}{end}": colour for change, colour in COLOURS.items() for end in ("", " (expected)")}
_CLASSES |= {str(standing): colour for standing, colour in RATIO_COLOURS.items()}
_FOREST = (
    "Head over base, a row a benchmark: the point is the ratio, the line its 95 % interval, the block behind it by how "
    "much equal code misses 1 in these very measurements, the grey band what the threshold allows ({}). What lies "
    "right of the band with the whole line is slower."
)
_RATIOS = (
    "A row a router: its time over the baseline's of the same run, hollow in base and filled in head, with 95 % "
    "intervals over the processes of each; logarithmic axis. Green and red are differences beyond what the intervals "
    "allow."
)


def comparison_files(comparison: Comparison) -> dict[str, bytes]:
    """Every file of the page by its relative name, the page last."""
    lead = [
        f"{comparison.headline}. {summary(comparison)}" if comparison.reasons else summary(comparison),
        " · ".join([*counts(comparison), _mean(comparison)]),
        *([comparison.caveat] if comparison.caveat else []),
        *(["The machines differ: see below."] if comparison.machine_differences else []),
    ]
    sections = [section for section in _sections(comparison) if section]
    return simple_files(comparison.title, lead, sections, classes=_CLASSES)


def _sections(comparison: Comparison) -> list[Section | None]:
    changed = (*comparison.proved, *comparison.unsettled)
    uncertain, same = comparison.uncertain, comparison.same
    figures = comparison.moved
    return [
        _of_rows("changed", "Changed or suspected", changed, comparison, folded=False)
        or Section("changed", "Changed or suspected", sentences=("Nothing.",)),
        Section(
            "figures",
            f"{counted(len(figures), 'figure', 'figures')} moved",
            f"Of {comparison.figures_compared:,} figures that are no times and should be equal.",
            (_figures(comparison),),
            folded=len(comparison.unexpected) == 0 or len(figures) > _MOST_DRAWN,
        )
        if figures
        else None,
        _beside_baseline(comparison.ratios),
        _of_rows("uncertain", f"{len(uncertain):,} uncertain within {percentage(comparison)}", uncertain, comparison),
        _of_rows("same", f"{len(same):,} the same", same, comparison),
        _remarks(comparison),
        _alone(comparison),
        Section("how", "How it was measured, and how to read it", sentences=tuple(_measured(comparison)), folded=True),
    ]


def _of_rows(
    anchor: str, title: str, rows: Sequence[Row], comparison: Comparison, *, folded: bool = True
) -> Section | None:
    if not rows:
        return None
    drawn = rows[:_MOST_DRAWN]
    beyond = f"The first {_MOST_DRAWN} of {len(rows):,} are drawn." if len(rows) > _MOST_DRAWN else ""
    caption = " ".join([_FOREST.format(percentage(comparison)), beyond]).strip()
    plot = Drawing(f"forest-{anchor}", f"{title}: head over base", caption, forest(drawn, comparison.threshold))
    table = Table(
        anchor,
        f"{title}: times",
        "Median time of a call on both sides, the ratio with its 95 % interval, by how much equal code misses 1, and "
        "what follows.",
        [_fields(row) for row in rows],
        (
            text_column("Benchmark", "benchmark"),
            Column("Base", ("base_us",), duration),
            Column("Head", ("head_us",), duration),
            interval_column("Head / base", "ratio", ratio),
            Column("Noise", ("noise",), within),
            verdict_column("Verdict", "verdict"),
        ),
    )
    return Section(anchor, title, items=(plot, table), folded=folded)


def _fields(row: Row) -> Mapping[str, object]:
    found = row.ratio
    return {
        "benchmark": name(row.benchmark),
        "base_us": row.base_us,
        "head_us": row.head_us,
        "ratio": found and found.estimate,
        "ratio_low": found and found.low,
        "ratio_high": found and found.high,
        "noise": row.floor,
        "verdict": f"{row.change} (expected)" if row.expected else str(row.change),
    }


def _beside_baseline(rows: Sequence[RatioRow]) -> Section | None:
    if not rows:
        return None
    groups: dict[str, list[RatioRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    # Those with a difference first; the others in the order of the run.
    ordered = sorted(groups.items(), key=lambda item: not any(row.apart for row in item[1]))
    drawn, room = [], _MOST_DRAWN
    for number, (group, members) in enumerate(ordered, start=1):
        if number > 1 and len(members) > room:
            break
        room -= len(members)
        title = f"{name(group)}: ratio to {name(members[0].baseline)} in both runs"
        drawn.append(Drawing(f"ratios-{number:02}", title, _RATIOS, ratio_forest(members[:_MOST_DRAWN])))
    more = f"The first {len(drawn)} of {len(groups)} groups are drawn." if len(groups) > len(drawn) else ""
    table = Table(
        "ratios",
        "Ratios to the baseline in both runs",
        "A router's time over the baseline's of the same run, with its 95 % interval, and how head's stands to base's, "
        "with Holm's correction over all rows.",
        [_ratio_fields(row) for row in rows],
        (
            text_column("Where", "group"),
            text_column("Router", "router"),
            interval_column("Base", "base", ratio),
            interval_column("Head", "head", ratio),
            verdict_column("Head beside base", "standing"),
        ),
    )
    return Section(
        "ratios",
        "Router by router, beside the baseline",
        f"{conclusion(rows)} What the machine did to a run as a whole is in neither ratio.",
        (*drawn, table),
        (more,) if more else (),
        folded=not any(row.apart for row in rows),
    )


def _ratio_fields(row: RatioRow) -> Mapping[str, object]:
    return {
        "group": name(row.group),
        "router": name(row.router),
        **interval_fields("base", row.base),
        **interval_fields("head", row.head),
        "standing": row.standing,
    }


def _figures(comparison: Comparison) -> Table:
    expected = {True: "expected", False: "not expected", None: DASH}
    rows = [
        {
            "benchmark": name(each.benchmark),
            "figure": name(each.figure),
            "base": each.base,
            "head": each.head,
            "expected": expected[each.expected],
        }
        for each in comparison.moved
    ]
    columns = (
        text_column("Benchmark", "benchmark"),
        text_column("Figure", "figure"),
        Column("Base", ("base",), exact),
        Column("Head", ("head",), exact),
        text_column("Beforehand", "expected"),
    )
    return Table(
        "figures", "Figures that moved", "Sizes, work and what a router decides, on both sides.", rows, columns
    )


def _remarks(comparison: Comparison) -> Section | None:
    shown = [
        f"{sentence(words)}: {listing([name(row.benchmark) for row in rows[:3]])}"
        + (f" and {len(rows) - 3:,} more." if len(rows) > 3 else ".")
        for words, rows in notes(comparison.rows)
    ]
    reasons = [sentence(reason) for reason in comparison.reasons]
    return (
        Section("remarks", "Reasons and remarks", sentences=(*reasons, *shown), folded=True)
        if reasons or shown
        else None
    )


def _alone(comparison: Comparison) -> Section | None:
    found = [
        *(f"In head alone: {name(benchmark)}." for benchmark in comparison.added),
        *(f"In base alone: {name(benchmark)}." for benchmark in comparison.removed),
        *(f"Not compared: {name(each.benchmark)}: {sentence(each.reason)}." for each in comparison.excluded),
    ]
    title = f"{counted(len(found), 'benchmark', 'benchmarks')} without a counterpart"
    return Section("alone", title, sentences=tuple(found), folded=True) if found else None


def _measured(comparison: Comparison) -> list[str]:
    sides = [("Base", comparison.base), ("Head", comparison.head)]
    return [
        *(f"{which}: {', '.join(part for part in side(one) if part)}." for which, one in sides),
        f"{sentence(', '.join(comparison.setting))}.",
        f"{sentence(comparison.machine)}.",
        *(
            f"{name(each.field)}: {sentence(each.base)} in base, {sentence(each.head)} in head."
            for each in comparison.machine_differences
        ),
        *map(sentence, comparison.notices),
        *comparison.reading,
    ]


def _mean(comparison: Comparison) -> str:
    if comparison.geometric_mean is None:
        return "nothing was timed on both sides"
    return f"geometric mean {ratio_words(comparison.geometric_mean)} of head over base; above 1 is slower"
