import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.comparisons.comment import LIMIT, to_comment
from reports.comparisons.comparison import Change, Comparison, Excluded, MovedFigure, Row, Side, ordered
from reports.comparisons.gate import load_gate
from reports.format.escape import code
from reports.format.machine import Difference
from reports.judging.intervals import Interval

NAMES = (
    "a|b",
    "`x`",
    "<script>alert(1)</script>",
    "@user #12",
    "line\nbreak",
    "</details>",
    "_a_ *b*",
    "a\\|b",
    "x" * 150,
)


@pytest.fixture
def comment(save):
    """The Markdown that a gate's document becomes."""
    return lambda document: to_comment(load_gate(save(document)))


def comparison(rows=(), **changes):
    fields = {
        "marker": "m", "title": "T", "headline": "H", "reasons": (), "caveat": None, "base": Side("a", None, ""),
        "head": Side("b", None, ""), "setting": (), "machine": "machine", "machine_differences": (), "notices": (),
        "rows": ordered(rows), "moved": (), "figures_compared": 0, "excluded": (), "added": (), "removed": (),
        "geometric_mean": None, "reading": ("How to read it.",),
    }  # fmt: skip
    return Comparison(**(fields | changes))


def row(name, change=Change.SAME, ratio=1.0, reason=None):
    return Row(name, 800.0, 800.0 * ratio, Interval(ratio, ratio - 0.01, ratio + 0.01), 0.004, change, reason)


def tables(markdown):
    """The lines of each table, cut at cell borders that are not escaped."""
    found, current = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            current.append(line.replace(r"\|", "").strip("|").split("|"))
        elif current:
            found.append(current)
            current = []
    return found


def test_the_whole(comment, gate_document):
    lines = comment(gate_document).splitlines()
    assert lines[:4] == [
        "<!-- moe-router-gate -->",
        "## Router benchmarks: Regression",
        "",
        r"**Geometric mean 1.002 \[1.000, 1.004\]** of head / base over 18 benchmarks; above 1 is slower.",
    ]
    assert "- base <code>main</code> 1a2b3c4d Shorter lines" in lines
    assert (
        r"| <code>training \| random \| mlp</code> | 800 µs | 1.00 ms | 1.250 \[1.240, 1.260\] | ±0.4 % "
        "| SLOWER (expected) |" in lines
    )
    assert (
        r"| <code>router \| random \| linear</code> | <code>parameters</code> | 6,144 | 6,152 | not expected |" in lines
    )
    assert lines.index("<details><summary>14 benchmarks are the same</summary>") > lines.index("Only in base:")
    assert lines[-1].startswith("<sub>Ratio: ")


def test_equal_rows_alone_are_folded_and_one_sentence_is_left(comment, gate_factory):
    gate_row, make_gate = gate_factory
    markdown = comment(make_gate([gate_row("router | random | linear")]))
    assert "## Router benchmarks: No regression" in markdown
    assert "No benchmark changed." in markdown
    assert markdown.index("| benchmark |") > markdown.index("<details><summary>1 benchmark is the same</summary>")
    assert "No benchmark changed." not in comment(make_gate([gate_row("router | random | linear", "FASTER", 0.5)]))


def test_github_needs_empty_lines_around_a_folded_table(comment, gate_document):
    lines = comment(gate_document).splitlines()
    opening, closing = lines.index("<details><summary>14 benchmarks are the same</summary>"), lines.index("</details>")
    assert lines[opening + 1] == lines[closing - 1] == lines[closing + 1] == ""
    assert lines[opening + 2].startswith("| benchmark |")


def test_hostile_names_change_neither_tables_nor_tags(comment, gate_factory):
    gate_row, make_gate = gate_factory
    rows = [gate_row(f"router | random | {name}", "SLOWER", 1.5, reason=name) for name in NAMES]
    figures = [{"benchmark": name, "figure": name, "base": 1, "head": None, "expected": True} for name in NAMES]
    removed = [f"{name} before" for name in NAMES]
    document = make_gate(rows, 1, NAMES, notices=NAMES, figures=figures, added=NAMES, removed=removed, select=NAMES[0])
    document["base"] = {"ref": NAMES[2], "commit": NAMES[2], "subject": NAMES[3]}
    markdown = comment(document)
    assert {len(cells) for cells in tables(markdown)[0]} == {6}
    assert {len(cells) for cells in tables(markdown)[1]} == {5}
    assert "<script" not in markdown
    assert markdown.count("</details>") == 0
    # In code it is an entity, and elsewhere something stands between it and the name.
    assert not re.search("@(?!&#8203;)", markdown)
    assert len(markdown) < LIMIT


def test_a_thousand_rows_are_cut_and_counted():
    changed = [row(f"router | random | changed_{n}", Change.SLOWER, 1.5) for n in range(100)]
    same = [row(f"router | random | same_{n}") for n in range(1000)]
    markdown = to_comment(comparison([*changed, *same]))
    assert LIMIT - 1000 < len(markdown.encode()) <= LIMIT
    assert all(code(each.benchmark) in markdown for each in changed)
    shown = sum(code(each.benchmark) in markdown for each in same)
    assert f"{1000 - shown} more of them are left out, because a comment has to be short." in markdown
    assert markdown.rstrip().endswith("</sub>")
    assert markdown.index("more of them are left out") < markdown.index("</details>")


def test_too_many_changes_are_cut_and_counted_too():
    changed = [row(f"router | random | changed_{n:04}", Change.SLOWER, 2 - n / 1000, "A reason.") for n in range(900)]
    markdown = to_comment(comparison(changed))
    shown = sum(code(each.benchmark) in markdown for each in changed)
    assert len(markdown.encode()) <= LIMIT
    assert code(changed[0].benchmark) in markdown
    assert f"{900 - shown} more changed, left out for length." in markdown


def test_of_figures_and_names_the_first_fifty_are_enough():
    moved = tuple(MovedFigure(f"b{n}", "cv", 1.0, 2.0) for n in range(60))
    markdown = to_comment(comparison([row("b")], moved=moved, added=tuple(f"n{n}" for n in range(60))))
    assert "10 more figures moved, left out for length." in markdown
    assert "- <code>n49</code>\n\n10 more, left out for length." in markdown


name_lists = st.lists(st.text(st.sampled_from("ab @#|`<>&_*\\\n\ud800µ"), max_size=60), max_size=120, unique=True)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(name_lists, st.lists(st.sampled_from(Change), min_size=1, max_size=7), st.integers(0, 12))
def test_it_is_never_too_long_and_every_change_is_in_it(names, changes, times):
    changed = [row(f"{name} {n}", changes[n % len(changes)], reason=name) for n, name in enumerate(names)]
    moved = tuple(MovedFigure(name, "f" * 200, 1.0, 2.0) for name in names * times)
    markdown = to_comment(
        comparison(
            changed,
            reasons=tuple(names) * times,
            moved=moved,
            notices=tuple(names) * times,
            added=tuple(names) * times,
            removed=tuple(names) * times,
            excluded=tuple(Excluded(name, name) for name in names * times),
            machine_differences=tuple(Difference(name, name, name) for name in names * times),
        )
    )
    assert len(markdown.encode()) <= LIMIT
    assert all(code(each.benchmark) in markdown for each in changed if each.change is not Change.SAME)


def test_every_change_is_in_it_however_much_else_there_is():
    changed = [row(f"{'<' * 60} {n}", Change.UNCERTAIN, reason="@" * 5000) for n in range(120)]
    words = tuple("@" * 5000 for _ in range(500))
    markdown = to_comment(comparison(changed, reasons=words, notices=words, added=words, setting=words, reading=("r",)))
    assert len(markdown.encode()) <= LIMIT
    assert all(code(each.benchmark) in markdown for each in changed)


def test_a_caveat_and_other_machines_stand_above_the_table():
    difference = Difference("cpu.model", "A <b>", "B")
    markdown = to_comment(comparison([row("b", Change.UNCERTAIN)], caveat="Weak.", machine_differences=(difference,)))
    assert markdown.index("> Weak.") < markdown.index("- <code>cpu.model</code>: A &lt;b&gt; / B") < markdown.index("|")
