"""A comparison as a comment on a pull request: a sentence, the counts, what changed, and everything else folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.comparisons.block import Block, fill
from reports.comparisons.comparison import Change, Comparison, Row, Side
from reports.comparisons.words import (
    ARE_NUMBERS,
    HEADINGS,
    MOVED_ARE_NUMBERS,
    MOVED_HEADINGS,
    cells,
    counted,
    counts,
    figures_by_name,
    moved_cells,
    name,
    notes,
    percentage,
    ratio_words,
    sentence,
    side,
    summary,
    told_elsewhere,
)
from reports.format.escape import code, escape_comment
from reports.format.numbers import ratio
from reports.format.render import markdown_row, markdown_rule

# GitHub refuses a comment of more than 65,536 characters. Bytes are never fewer, and a workflow may add a line.
LIMIT = 65_000
# More than this of one thing says no more; reasons have rows in the table too.
_LONGEST_LIST = 50
_REASONS = 20
# So many suspicions have a row each; others stand below in a few words. So many figures are seen without opening.
_ROWS_UNSETTLED = 12
_FIGURES_OPEN = 8
# Of what is alike.
_NAMED = 3


def to_comment(comparison: Comparison) -> str:
    """The Markdown; where room is short, equal benchmarks are left out before all else, with a sentence that counts."""
    head = [
        f"<!-- {comparison.marker} -->",
        f"## {escape_comment(comparison.title)}: {escape_comment(comparison.headline)}",
        "",
        f"**{escape_comment(summary(comparison))}**",
        "",
        escape_comment(" · ".join([*counts(comparison), _mean(comparison)])),
        "",
        *([f"> {escape_comment(comparison.caveat)}", ""] if comparison.caveat else []),
    ]
    foot = [f"<sub>{escape_comment(' '.join(comparison.reading))}</sub>", ""]
    room = LIMIT - sum(len(line.encode()) + 1 for line in (*head, *foot))
    return "\n".join([*head, *fill([*_seen(comparison), *_folded(comparison)], room), *foot])


def _seen(comparison: Comparison) -> list[Block]:
    """What stands there without opening anything; the importance says who is given room first."""
    reasons, _ = told_elsewhere(comparison)
    suspected, others = _suspicions(comparison)
    beyond = percentage(comparison)
    removed = counted(len(comparison.removed), "benchmark is", "benchmarks are")
    return [
        _list(
            5,
            "Machines, base / head:",
            (f"{code(name(d.field))}: {_text(d.base)} / {_text(d.head)}" for d in comparison.machine_differences),
        ),
        _list(1, "Reasons:", map(_text, reasons), most=_REASONS),
        _rows(0, (), (*comparison.proved, *suspected), "{} more changed, left out for length."),
        _in_short(f"UNCERTAIN, off by more than {beyond}, head / base:", others, expected=False),
        _in_short(
            f"UNCERTAIN and expected to change, off by more than {percentage(comparison)}:", others, expected=True
        ),
        _figures(3, (), comparison) if len(comparison.moved) <= _FIGURES_OPEN else _figures_in_short(comparison),
        Block(4, [f"{removed} in base alone, and named below."] if comparison.removed else []),
    ]


def _suspicions(comparison: Comparison) -> tuple[list[Row], list[Row]]:
    """Of what is unsettled, that which has a row (slower, and not expected to be), and the others, told shortly."""
    alarming = [row for row in comparison.unsettled if row.ratio and row.ratio.estimate > 1 and not row.expected]
    suspected = alarming[:_ROWS_UNSETTLED]
    return suspected, [row for row in comparison.unsettled if row not in suspected]


def _folded(comparison: Comparison) -> list[Block]:
    """Everything else, each under a line that says how much of it there is."""
    _, told = told_elsewhere(comparison)
    same, (suspected, _) = comparison.same, _suspicions(comparison)
    uncertain = [row for row in comparison.changed if row.change is Change.UNCERTAIN and row not in suspected]
    more = "more " * bool(suspected)
    remarks = [f"- {_text(words)}: {_names(rows)}" for words, rows in notes(comparison.rows)]
    figures = len(comparison.moved) > _FIGURES_OPEN
    others = {
        "Only in head:": [code(name(benchmark)) for benchmark in comparison.added],
        "Only in base:": [code(name(benchmark)) for benchmark in comparison.removed],
        "Not compared:": [f"{code(name(each.benchmark))}: {_text(each.reason)}" for each in comparison.excluded],
    }
    number = sum(map(len, others.values()))
    alone = [
        line
        for title, items in others.items()
        if items
        for line in (title, "", *(f"- {item}" for item in items[:_LONGEST_LIST]), *_more(items), "")
    ]
    return [
        _rows(
            0,
            _summary(f"{counted(len(uncertain), f'{more}benchmark is', f'{more}benchmarks are')} UNCERTAIN"),
            uncertain,
            "{} more, left out for length.",
            after=_END,
        ),
        Block(2, remarks, _summary("Remarks"), _END, "{} more, left out for length.", _LONGEST_LIST),
        Block(
            6,
            [f"- {_text(reason)}" for reason in told],
            _summary(f"{counted(len(told), 'reason', 'reasons')} that rows and figures give"),
            _END,
            "{} more, left out for length.",
            _REASONS,
        ),
        _figures(3, _summary(_of_all(comparison)), comparison, after=_END) if figures else Block(3, []),
        Block(4, alone, _summary(f"{counted(number, 'benchmark', 'benchmarks')} without a counterpart"), _END),
        Block(4, _measured(comparison), _summary("How it was measured"), _END, "{} more, left out for length."),
        _rows(
            6,
            _summary(f"{counted(len(same), 'benchmark is', 'benchmarks are')} the same"),
            same,
            "{} more of them are left out, because a comment has to be short.",
            after=_END,
        ),
    ]


# Without the empty lines GitHub shows the pipes instead of a table.
_END = ("", "</details>")


def _summary(title: str) -> tuple[str, ...]:
    return f"<details><summary>{title}</summary>", ""


def _more(items: Sequence[str]) -> list[str]:
    missing = len(items) - _LONGEST_LIST
    return ["", f"{missing:,} more, left out for length."] if missing > 0 else []


def _measured(comparison: Comparison) -> list[str]:
    return [
        f"- base {_side(comparison.base)}",
        f"- head {_side(comparison.head)}",
        f"- {escape_comment(sentence(', '.join(comparison.setting)))}",
        f"- {escape_comment(sentence(comparison.machine))}",
        *(f"- {_text(notice)}" for notice in comparison.notices[:_LONGEST_LIST]),
        *_more(comparison.notices),
    ]


def _list(importance: int, title: str, items: Iterable[str], *, most: int = _LONGEST_LIST) -> Block:
    lines = [f"- {item}" for item in items]
    return Block(importance, lines, (title, ""), cut="{} more, left out for length.", most=most)


def _rows(importance: int, before: Sequence[str], rows: Iterable[Row], cut: str, *, after: Sequence[str] = ()) -> Block:
    heads = [*before, markdown_row(HEADINGS), markdown_rule(ARE_NUMBERS)]
    return Block(importance, [_cells(cells(row)) for row in rows], heads, after, cut)


def _of_all(comparison: Comparison) -> str:
    moved = counted(len(comparison.moved), "figure", "figures")
    return f"{moved} moved, of {comparison.figures_compared:,} compared"


def _figures(importance: int, before: Sequence[str], comparison: Comparison, *, after: Sequence[str] = ()) -> Block:
    heads = [*(before or (f"{_of_all(comparison)}:", "")), markdown_row(MOVED_HEADINGS)]
    rows = [_cells(moved_cells(moved), codes=2) for moved in comparison.moved]
    cut = "{} more figures moved, left out for length."
    return Block(importance, rows, [*heads, markdown_rule(MOVED_ARE_NUMBERS)], after, cut, _LONGEST_LIST)


def _figures_in_short(comparison: Comparison) -> Block:
    named = [f"{code(words.rpartition(' in ')[0])} in {words.rpartition(' in ')[2]};"
             for words in figures_by_name(comparison.moved)]  # fmt: skip
    return Block(3, named, ("Figures that moved, in so many benchmarks:", ""), cut="{} more.", most=_LONGEST_LIST)


def _cells(row: Sequence[str], *, codes: int = 1) -> str:
    """A row of a table, its first cells names."""
    return markdown_row([*map(code, row[:codes]), *map(escape_comment, row[codes:])])


def _names(rows: Sequence[Row]) -> str:
    """The first of them by name, and how many more there are."""
    shown = ", ".join(code(name(row.benchmark)) for row in rows[:_NAMED])
    return shown + (f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else "")


def _in_short(title: str, rows: Iterable[Row], *, expected: bool) -> Block:
    """Names and ratios in a paragraph; the intervals stand in the table of what is uncertain."""
    said = [
        f"{code(name(row.benchmark))} {escape_comment(ratio(row.ratio.estimate)) if row.ratio else 'not timed'};"
        for row in rows
        if row.expected == expected
    ]
    return Block(0, said, (title, ""), cut="{} more, left out for length.")


def _text(words: str) -> str:
    return escape_comment(sentence(words))


def _side(one: Side) -> str:
    side_name, commit, words = side(one)
    return " ".join(part for part in (code(side_name), escape_comment(commit), escape_comment(words)) if part)


def _mean(comparison: Comparison) -> str:
    if comparison.geometric_mean is None:
        return "no geometric mean, because nothing was timed on both sides"
    return f"geometric mean {ratio_words(comparison.geometric_mean)} of head / base; above 1 is slower"
