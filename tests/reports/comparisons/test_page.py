"""The page of a comparison."""

import re
from xml.etree import ElementTree

import pytest

from reports.__main__ import main
from reports.comparisons.comparison import Change, Row, ordered
from reports.comparisons.forest import forest
from reports.comparisons.gate import load_gate
from reports.comparisons.page import comparison_files
from reports.comparisons.stored import compare_files
from reports.judging.intervals import Interval
from tests.reports.conftest import set_ratio

EVIL = "router | random | <b>\x1b[31m\u202e=cmd" + "x" * 150


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import json

    from tests.reports.comparisons.conftest import gate_row, make_gate, mixed_gate

    document = mixed_gate()
    document["rows"].append(gate_row(EVIL, "SLOWER", 1.5, reason=EVIL, expected=True))
    path = tmp_path_factory.mktemp("gate") / "gate.json"
    path.write_text(json.dumps(make_gate() | document))
    return comparison_files(load_gate(path))


def test_the_sentence_and_the_counts_come_first(files):
    page = files["index.html"].decode()
    assert "<h1>Router benchmarks</h1>" in page
    assert "Regression. Of 20 benchmarks 1 failed, 3 are slower and 1 is faster; " in page
    assert page.index("FAILED 1 · SLOWER 3 · UNCERTAIN 1 (1 beyond 2 %)") < page.index("<svg")


def test_what_changed_is_open_and_everything_else_is_folded(files):
    page = files["index.html"].decode()
    folded = re.findall(r"(?s)<details.*?<h2>(.*?)</h2>", page)
    assert folded == [
        "14 the same", "Reasons and remarks", "2 benchmarks without a counterpart",
        "How it was measured, and how to read it",
    ]  # fmt: skip
    assert re.findall(r"</section>\s*<section class=\"open\" id=\"(\w+)\">\s*<h2>", page) == ["figures"]
    assert "Head disagrees with the reference" in page


def test_a_word_has_the_colour_of_its_verdict(files):
    page = files["index.html"].decode()
    assert '<td class="poor">SLOWER (expected)</td>' in page
    assert '<td class="good">FASTER</td>' in page
    assert '<td class="fair">UNCERTAIN</td>' in page


def test_names_are_no_markup_anywhere(files):
    page = files["index.html"].decode()
    assert "<b>" not in page
    assert not {"\x1b", "\u202e"} & set(page)
    for name, content in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)


def test_tables_hold_full_numbers(files):
    lines = files["tables/changed.csv"].decode().splitlines()
    assert lines[0] == "benchmark,base_us,head_us,ratio,ratio_low,ratio_high,noise,verdict"
    assert "router | random | linear,800.0,883.2,1.104," in "\n".join(lines)


@pytest.mark.parametrize("ratio", [None, Interval(1.0), Interval(1.0, 1.0, 1.0), Interval(1e-9, 1e-12, 1e9)])
def test_a_forest_of_any_rows_is_drawn(ratio):
    svg = forest(ordered([Row("a", 1.0, 1.0, ratio, None, Change.UNCERTAIN)]), 0.05)
    numbers = [float(n) for n in re.findall(r' (?:x|cx|x1|x2|width)="([^"]*)"', svg)]
    assert all(0 <= number <= 960 for number in numbers)


def test_compare_writes_a_page(two_runs, save, tmp_path, capsys):
    runs = [str(save(run, f"{name}.json")) for name, run in zip("ab", two_runs, strict=True)]
    assert main(["compare", *runs, "-o", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.endswith(f"3 same.\nOpen {tmp_path / 'page' / 'index.html'}\n")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "None of 3 benchmarks is proved slower or faster." in page
    assert "Weak evidence" in page


def test_nothing_in_common_writes_no_page(two_runs, save, tmp_path, capsys):
    run = str(save(two_runs[0], "a.json"))
    assert main(["compare", run, run, "-o", str(tmp_path / "page")]) == 3
    assert not (tmp_path / "page").exists()
    capsys.readouterr()


def test_ratios_of_both_runs_stand_side_by_side_a_row_a_router(two_runs, save):
    for info in (benchmark["extra_info"] for benchmark in two_runs[1]["benchmarks"]):
        if info["router"] == "mlp":
            set_ratio(info, 8.0, 7.9, 8.1)
    found = comparison_files(compare_files(*(save(run, f"{n}.json") for n, run in zip("ab", two_runs, strict=True))))
    page = found["index.html"].decode()
    assert "1 of 2 ratios to the baseline differ (mlp in token | random: slower, by a factor of 1.891)." in page
    # Its interval in base is 3 % to either side: 4.23 ± 0.13.
    assert "4.230 → 8.000 [7.900, 8.100]" in page
    assert '<td class="poor">slower</td>' in page
    svg = found["figures/ratios-01.svg"].decode()
    ElementTree.fromstring(svg)
    assert svg.count("<circle") == 4
    assert found["tables/ratios.csv"].decode().splitlines()[0] == (
        "group,router,base,base_low,base_high,head,head_low,head_high,standing"
    )


def test_without_a_difference_of_ratios_the_section_is_folded(two_runs, save):
    found = comparison_files(compare_files(*(save(run, f"{n}.json") for n, run in zip("ab", two_runs, strict=True))))
    page = found["index.html"].decode()
    assert "None of 2 ratios to the baseline differs by more than the intervals allow." in page
    assert '<details class="section" id="ratios">' in page
