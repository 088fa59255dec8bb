"""A comparison as a comment on a pull request: the outcome first, equal benchmarks folded, short enough for GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.comparisons.block import Block, fill
from reports.comparisons.comparison import Comparison, Side
from reports.comparisons.words import (
    ARE_NUMBERS,
    HEADINGS,
    MOVED_ARE_NUMBERS,
    MOVED_HEADINGS,
    cells,
    counted,
    moved_cells,
    name,
    note,
    ratio_words,
    sentence,
    side,
)
from reports.format.escape import code, escape_comment
from reports.format.render import markdown_row, markdown_rule

# GitHub refuses a comment of more than 65,536 characters. Bytes are never fewer, and a workflow may add a line.
LIMIT = 65_000
# More than this of one thing says no more; reasons have rows in the table too.
_LONGEST_LIST = 50
_REASONS = 20


def to_comment(comparison: Comparison) -> str:
    """The Markdown; where room is short, equal benchmarks are left out before all else, with a sentence that counts."""
    head = [
        f"<!-- {comparison.marker} -->",
        f"## {escape_comment(comparison.title)}: {escape_comment(comparison.headline)}",
        "",
        _mean(comparison),
        "",
        *([f"> {escape_comment(comparison.caveat)}", ""] if comparison.caveat else []),
        f"- base {_side(comparison.base)}",
        f"- head {_side(comparison.head)}",
        f"- {escape_comment(sentence(', '.join(comparison.setting)))}",
        f"- {escape_comment(sentence(comparison.machine))}",
        "",
    ]
    foot = [f"<sub>{escape_comment(' '.join(comparison.reading))}</sub>", ""]
    room = LIMIT - sum(len(line.encode()) + 1 for line in (*head, *foot))
    return "\n".join([*head, *fill(_blocks(comparison), room), *foot])


def _blocks(comparison: Comparison) -> list[Block]:
    """All that may be long, in the order of reading; the importance says who is given room first."""
    changed, same = comparison.changed, comparison.same
    notes = [(row, note(row)) for row in comparison.rows]
    unchanged = ["No benchmark changed."] if not changed and same else []
    return [
        _list(
            5,
            "Machines, base / head:",
            (f"{code(name(d.field))}: {_text(d.base)} / {_text(d.head)}" for d in comparison.machine_differences),
        ),
        _list(4, "Notices:", map(_text, comparison.notices)),
        _list(1, "Reasons:", map(_text, comparison.reasons), most=_REASONS),
        Block(0, unchanged),
        _table(0, (), HEADINGS, ARE_NUMBERS, map(_cells, map(cells, changed)), "{} more changed, left out for length."),
        _list(
            2,
            "Remarks:",
            (f"{code(name(row.benchmark))}: {row.change}: {_text(words)}" for row, words in notes if words),
        ),
        _table(
            3,
            (f"Figures that moved, of {comparison.figures_compared:,} compared:", ""),
            MOVED_HEADINGS,
            MOVED_ARE_NUMBERS,
            (_cells(moved_cells(moved), codes=2) for moved in comparison.moved),
            "{} more figures moved, left out for length.",
            most=_LONGEST_LIST,
        ),
        _list(4, "Only in head:", (code(name(benchmark)) for benchmark in comparison.added)),
        _list(4, "Only in base:", (code(name(benchmark)) for benchmark in comparison.removed)),
        _list(
            4, "Not compared:", (f"{code(name(each.benchmark))}: {_text(each.reason)}" for each in comparison.excluded)
        ),
        _table(
            6,
            (f"<details><summary>{counted(len(same), 'benchmark is', 'benchmarks are')} the same</summary>", ""),
            HEADINGS,
            ARE_NUMBERS,
            map(_cells, map(cells, same)),
            "{} more of them are left out, because a comment has to be short.",
            # Without the empty line GitHub shows the pipes instead of a table.
            after=("", "</details>"),
        ),
    ]


def _list(importance: int, title: str, items: Iterable[str], *, most: int = _LONGEST_LIST) -> Block:
    lines = [f"- {item}" for item in items]
    return Block(importance, lines, (title, ""), cut="{} more, left out for length.", most=most)


def _table(
    importance: int,
    before: Sequence[str],
    headings: Sequence[str],
    are_numbers: Sequence[bool],
    rows: Iterable[str],
    cut: str,
    *,
    after: Sequence[str] = (),
    most: int | None = None,
) -> Block:
    heads = [*before, markdown_row(headings), markdown_rule(are_numbers)]
    return Block(importance, list(rows), heads, after, cut, most)


def _cells(row: Sequence[str], *, codes: int = 1) -> str:
    """A row of a table, its first cells names."""
    return markdown_row([*map(code, row[:codes]), *map(escape_comment, row[codes:])])


def _text(words: str) -> str:
    return escape_comment(sentence(words))


def _side(one: Side) -> str:
    side_name, commit, words = side(one)
    return " ".join(part for part in (code(side_name), escape_comment(commit), escape_comment(words)) if part)


def _mean(comparison: Comparison) -> str:
    if comparison.geometric_mean is None:
        return "**No geometric mean**, because nothing was timed on both sides."
    mean = escape_comment(ratio_words(comparison.geometric_mean))
    over = counted(comparison.timed, "benchmark", "benchmarks")
    return f"**Geometric mean {mean}** of head / base over {over}; above 1 is slower."
