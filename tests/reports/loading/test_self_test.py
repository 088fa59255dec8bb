import json

import pytest

from reports.__main__ import main
from reports.errors import ReportError
from reports.figures.operating import curve
from reports.loading.self_test import load_self_test
from reports.tables.operating import operating_table


def level(slowdown, found, low, high, **verdicts):
    return {
        "slowdown": slowdown, "trials": 40, "found": found, "low": low, "high": high, "verdicts": verdicts,
        "estimate": {"mean": 1 + slowdown, "sd": 0.009},
    }  # fmt: skip


def make_self_test():
    """A self-test of five slowdowns; Wilson's intervals are those of 0, 3, 31 and 40 of 40."""
    return {
        "schema": 1,
        "kind": "self-test",
        "date": "2026-01-02T03:04:05+00:00",
        "revision": {"ref": "main", "commit": "1a2b3c4d" + "0" * 32, "subject": "Shorter <b> lines"},
        "preset": {"name": "ci", "rounds": 20},
        "device": "cpu",
        "threads": 1,
        "threshold": 0.02,
        "floor_multiple": 3.0,
        "benchmarks": ["router | random | linear", "router | random | mlp"],
        "elapsed_s": 4000.0,
        "machine": {"cpu": {"model": "Synthetic CPU", "logical": 2}},
        "conditions": {},
        "false_alarms": {
            "trials": 40, "alarms": 0, "low": 0.0, "high": 0.0876, "comparisons": 200,
            "verdicts": {"SAME": 190, "UNCERTAIN": 10},
        },
        "levels": [
            level(0.0, 0, 0.0, 0.0876, SAME=40, SLOWER=0),
            level(0.02, 3, 0.0258, 0.1986, SLOWER=3, UNCERTAIN=12, SAME=25),
            level(0.1, 40, 0.9124, 1.0, SLOWER=40),
            level(0.2, 40, 0.9124, 1.0, SLOWER=40),
            level(0.05, 31, 0.6250, 0.8768, SLOWER=31, UNCERTAIN=9),
        ],
    }  # fmt: skip


@pytest.fixture
def self_test():
    return make_self_test()


def test_a_self_test_comes_through_typed_and_in_order(self_test, save):
    test = load_self_test(save(self_test))
    assert [level.slowdown for level in test.levels] == [0, 0.02, 0.05, 0.1, 0.2]
    assert test.levels[1].found.share == 0.075
    assert test.levels[1].missed == {"UNCERTAIN": 12, "SAME": 25}
    assert (test.levels[2].mean, test.levels[2].sd) == (1.05, 0.009)
    assert test.false_alarms.alarms.high == 0.0876
    assert test.revision == "main 1a2b3c4d Shorter <b> lines"


def test_the_table(self_test, save):
    table = operating_table(load_self_test(save(self_test)))
    assert table.shown()[:3] == [
        ["0 %", "40", "0", "0.0 % [0.0 %, 8.8 %]", "40 SAME", "1.000 ± 0.009"],
        ["2 %", "40", "3", "7.5 % [2.6 %, 19.9 %]", "12 UNCERTAIN, 25 SAME", "1.020 ± 0.009"],
        ["5 %", "40", "31", "77.5 % [62.5 %, 87.7 %]", "9 UNCERTAIN", "1.050 ± 0.009"],
    ]
    assert table.shown()[4][4] == "–"
    assert table.findings == (
        "False alarms: 0 of 40 whole runs of a revision against itself, 0.0 % [0.0 %, 8.8 %]; of their 200 "
        "comparisons: 190 SAME, 10 UNCERTAIN.",
    )
    assert "2 benchmarks; its threshold is 2 %" in table.caption


def test_numbers_that_do_not_exist_are_dashes(self_test, save):
    self_test["levels"] = [
        {"slowdown": 0.05, "trials": 0, "found": 0, "low": None, "high": None, "verdicts": {}, "estimate": None}
    ]
    self_test["false_alarms"] = {
        "trials": 0, "alarms": 0, "low": None, "high": None, "comparisons": 0, "verdicts": {}
    }  # fmt: skip
    test = load_self_test(save(self_test))
    table = operating_table(test)
    assert table.shown() == [["5 %", "0", "0", "–", "–", "–"]]
    assert "0 of 0 whole runs of a revision against itself, –; of their 0 comparisons: none." in table.findings[0]
    assert curve(test).draw().axes


def test_the_curve_shows_what_the_table_says(self_test, save):
    (ax,) = curve(load_self_test(save(self_test))).draw().axes
    found, alarms = ax.containers
    assert list(found.lines[0].get_xdata()) == pytest.approx([0, 2, 5, 10, 20])
    assert list(found.lines[0].get_ydata()) == pytest.approx([0, 0.075, 0.775, 1, 1])
    assert list(alarms.lines[0].get_ydata()) == [0]
    (threshold, *_) = ax.lines
    assert list(threshold.get_xdata()) == [2, 2]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("kind",), "gate", "is a gate's result"),
        (("schema",), 3, "this version reads schema 1"),
        (("levels",), [], "levels holds no slowdown"),
        (("levels", 0, "found"), 41, "levels[0].found is 41 of 40"),
        (("levels", 0, "slowdown"), None, "is not a number"),
        (("levels", 0, "verdicts"), [], "is not an object"),
        (("levels", 0, "verdicts", "SAME"), -1, "is not a count"),
        (("false_alarms",), None, "is not an object"),
        (("revision", "ref"), 1, "is not a string"),
        (("threshold",), 0, "is not above zero"),
    ],
)
def test_a_wrong_value_is_named(self_test, save, path, value, reason):
    container = self_test
    for step in path[:-1]:
        container = container[step]
    container[path[-1]] = value
    with pytest.raises(ReportError) as refusal:
        load_self_test(save(self_test))
    assert reason in str(refusal.value)


def test_the_command_writes_four_files_and_shows_the_table(self_test, save, tmp_path, capsys):
    assert main(["operating", str(save(self_test)), "-o", str(tmp_path / "out")]) == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {"operating.md", "operating.csv", "operating.svg", "operating.png"}
    assert "Shorter &lt;b&gt; lines" in written["operating.md"].decode()
    assert "![Share of slowdowns that the gate finds](operating.png)" in written["operating.md"].decode()
    assert written["operating.csv"].decode().splitlines()[2].startswith("0.02,40,3,0.075,0.0258,0.1986,")
    assert b"true slowdown (%)" in written["operating.svg"]
    words = capsys.readouterr().out
    assert "77.5 % [62.5 %, 87.7 %]" in words
    assert "False alarms: 0 of 40 whole runs" in words


def test_bad_input_is_one_line_and_nothing_written(self_test, save, tmp_path, capsys):
    path = save(json.dumps(self_test)[:-20])
    assert main(["operating", str(path), "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: not JSON, or cut off" in line
    assert list(tmp_path.iterdir()) == [path]
