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
        "threshold": 0.02,
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


def folds(markdown):
    """What is folded, by the line that is seen of it."""
    parts = re.split(r"<details><summary>(.*?)</summary>", markdown)
    return dict(zip(parts[1::2], (part.partition("</details>")[0] for part in parts[2::2]), strict=True))


def seen(markdown):
    """What stands there without opening anything."""
    return re.sub(r"(?s)<details>.*?</details>", "", markdown)


def test_the_whole(comment, gate_document):
    markdown = comment(gate_document)
    lines = markdown.splitlines()
    assert lines[:6] == [
        "<!-- moe-router-gate -->",
        "## Router benchmarks: Regression",
        "",
        "**Of 19 benchmarks 1 failed, 2 are slower and 1 is faster; 1 measures more than 2 % off, without proof; "
        "2 figures moved, 1 of them not expected.**",
        "",
        "FAILED 1 · SLOWER 2 · UNCERTAIN 1 (1 beyond 2 %) · FASTER 1 · SAME 14 · "
        r"geometric mean 1.002 \[1.000, 1.004\] of head / base; above 1 is slower",
    ]
    assert (
        r"| <code>training \| random \| mlp</code> | 800 µs | 1.00 ms | 1.250 \[1.240, 1.260\] | ±0.4 % "
        "| SLOWER (expected) |" in seen(markdown)
    )
    assert r"| <code>token \| random \| hybrid</code> |" in seen(markdown)
    assert (
        r"| <code>router \| random \| linear</code> | <code>parameters</code> | 6,144 | 6,152 | not expected |" in lines
    )
    folded = folds(markdown)
    assert list(folded) == [
        "Remarks",
        "2 reasons that rows and figures give",
        "2 benchmarks without a counterpart",
        "How it was measured",
        "14 benchmarks are the same",
    ]
    assert "- base <code>main</code> 1a2b3c4d Shorter lines" in folded["How it was measured"]
    assert "1 benchmark is in base alone, and named below." in seen(markdown)
    assert lines[-1].startswith("<sub>Ratio: ")


def test_equal_rows_alone_are_folded_and_one_sentence_is_left(comment, gate_factory):
    gate_row, make_gate = gate_factory
    markdown = comment(make_gate([gate_row("router | random | linear")]))
    assert "## Router benchmarks: No regression" in markdown
    assert "**None of 1 benchmark is proved slower or faster.**" in markdown
    assert "| benchmark |" not in seen(markdown)
    assert "| benchmark |" in folds(markdown)["1 benchmark is the same"]
    faster = comment(make_gate([gate_row("router | random | linear", "FASTER", 0.5)]))
    assert "**Of 1 benchmark 1 is faster.**" in faster


def test_dozens_that_are_uncertain_are_folded_and_what_is_beyond_the_threshold_is_seen():
    rows = [row(f"near {n}", Change.UNCERTAIN, 1.01) for n in range(40)]
    rows += [row(f"slower {n}", Change.UNCERTAIN, 1.1 + n / 1000) for n in range(30)]
    rows += [row("quick", Change.UNCERTAIN, 0.9), Row("late", None, None, None, None, Change.UNCERTAIN)]
    rows += [Row("asked", 1.0, 1.2, Interval(1.2), 0.1, Change.UNCERTAIN, expected=True)]
    markdown = to_comment(comparison(rows))
    assert (
        "**None of 73 benchmarks is proved slower or faster; 32 measure more than 2 % off, without proof; " in markdown
    )
    assert "1 was not timed.**" in markdown
    assert "UNCERTAIN 73 (33 beyond 2 %)" in markdown
    assert not [n for n in range(40) if code(f"near {n}") in seen(markdown)]
    assert all(code(f"slower {n}") in seen(markdown) for n in range(30))
    (table,) = tables(seen(markdown))
    assert [cells[0].strip() for cells in table[2:]] == [code(f"slower {n}") for n in range(29, 17, -1)]
    assert f"{code('quick')} 0.900;" in seen(markdown)
    assert f"{code('late')} not timed;" in seen(markdown)
    assert f"UNCERTAIN and expected to change, off by more than 2 %:\n\n{code('asked')} 1.200;" in seen(markdown)
    assert all(code(f"near {n}") in folds(markdown)["61 more benchmarks are UNCERTAIN"] for n in range(40))


def test_many_figures_that_moved_are_counted_by_name_and_folded():
    moved = tuple(MovedFigure(f"b{n}", "cv, seed 3 (1 of 5 seeds)" if n < 5 else "gini", 1.0, 2.0) for n in range(9))
    markdown = to_comment(comparison([row("b")], moved=moved, figures_compared=30))
    assert "9 figures moved.**" in markdown
    assert "<code>cv</code> in 5;\n<code>gini</code> in 4;" in seen(markdown)
    assert "<code>b8</code>" in folds(markdown)["9 figures moved, of 30 compared"]
    few = to_comment(comparison([row("b")], moved=moved[:8], figures_compared=30))
    assert "<code>b7</code>" in seen(few)


def test_a_remark_of_many_rows_stands_once():
    rows = [row(f"b{n}", Change.UNCERTAIN, reason="Not settled.") for n in range(5)]
    remarks = folds(to_comment(comparison(rows)))["Remarks"]
    assert remarks.strip() == "- Not settled: <code>b0</code>, <code>b1</code>, <code>b2</code> and 2 more"


def test_a_reason_that_no_row_gives_is_seen(comment, gate_factory):
    _, make_gate = gate_factory
    markdown = comment(make_gate(exit_code=3, reasons=["No benchmark is in both revisions."]))
    assert "Reasons:\n\n- No benchmark is in both revisions." in seen(markdown)


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
    assert [{len(cells) for cells in table} for table in tables(markdown)] == [{6}, {5}]
    assert "<script" not in markdown
    assert markdown.count("</details>") == markdown.count("<details>") == len(folds(markdown))
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
    assert markdown.index("more of them are left out") < markdown.rindex("</details>")


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
    assert (
        "- <code>n49</code>\n\n10 more, left out for length." in folds(markdown)["60 benchmarks without a counterpart"]
    )


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
