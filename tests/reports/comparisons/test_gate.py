import json

import pytest

from reports.comparisons.comparison import Change
from reports.comparisons.gate import load_gate
from reports.errors import ReportError
from reports.judging.intervals import Interval


def test_a_result_comes_through_typed(gate_document, save):
    gate = load_gate(save(gate_document))
    assert (gate.base.name, gate.base.commit[:8], gate.base.note) == ("main", "1a2b3c4d", "Shorter lines")
    assert gate.headline == "Regression"
    assert [row.change for row in gate.changed] == [
        Change.FAILED, Change.SLOWER, Change.SLOWER, Change.UNCERTAIN, Change.FASTER
    ]  # fmt: skip
    assert (len(gate.same), gate.timed) == (14, 18)
    slower = gate.changed[2]
    assert (slower.benchmark, slower.base_us, slower.floor) == ("router | random | linear", 800.0, 0.004)
    assert slower.ratio == Interval(1.104, 1.104 - 0.01, 1.104 + 0.01)
    assert slower.first_look == Interval(1.1, 1.1 - 0.01, 1.1 + 0.01)
    assert gate.changed[1].expected
    assert gate.moved[0].head == 6152
    assert gate.moved[1].head is None
    assert gate.geometric_mean is not None
    assert "preset ci" in gate.setting
    assert "6 to 12 pairs of fresh processes" in gate.setting
    assert gate.machine.startswith("machine: Synthetic CPU, 2 CPUs, 16.0 GiB, Linux 6.8.0")


def test_a_result_without_rows(gate_factory, save):
    _, make_gate = gate_factory
    gate = load_gate(save(make_gate(exit_code=3, reasons=["no benchmark is in both"], select="router and mlp")))
    assert (gate.headline, gate.rows, gate.geometric_mean) == ("Nothing to compare", (), None)
    assert "only “router and mlp”" in gate.setting
    assert not [phrase for phrase in gate.setting if "pairs" in phrase]


def test_how_to_read_it_has_the_runs_own_numbers(gate_factory, save):
    gate_row, make_gate = gate_factory
    rows = [gate_row(f"router | random | r{floor}", floor=floor) for floor in (0.002, 0.003, 0.02)]
    reading = " ".join(load_gate(save(make_gate(rows, threshold=0.07))).reading)
    assert "±0.3 % in the median and ±2 % at worst" in reading
    assert "beyond 7 % and beyond 3 times the noise; SAME lies within;" in reading
    with_margin = load_gate(save(make_gate(margin=0.05))).reading
    assert "SAME is proved to lie within 5 %" in with_margin[2]
    assert "nothing was timed" in with_margin[1]


@pytest.mark.parametrize(
    ("ratio", "changes", "headline"),
    [
        (1.019, {}, "No regression"),
        (1.021, {}, "Not settled"),
        (40.0, {}, "Not settled"),
        (0.5, {}, "No regression"),
        (None, {"reason": "not measured"}, "Not settled"),
        (1.5, {"expected": True}, "No regression"),
    ],
)
def test_what_may_be_slower_is_never_no_regression(gate_factory, save, ratio, changes, headline):
    gate_row, make_gate = gate_factory
    rows = [gate_row("router | random | a"), gate_row("router | random | b", "UNCERTAIN", ratio, **changes)]
    gate = load_gate(save(make_gate(rows)))
    assert gate.headline == headline
    settled = headline == "No regression"
    doubt = "more than 2 % slower, but not proved: 1 benchmark; --budget or --select settle more"
    assert gate.reasons == (() if settled else (doubt,))


REQUIRED = ("base", "head", "notices", "preset", "device", "threads", "threshold", "floor_multiple", "elapsed_s",
            "machine", "rows", "figures", "figures_compared", "added", "removed", "outcome", "schema")  # fmt: skip


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(gate_document, save, field):
    del gate_document[field]
    with pytest.raises(ReportError, match=f"run.json: .*{field}"):
        load_gate(save(gate_document))


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("schema",), 2, "schema is 2; this version reads schema 1"),
        (("kind",), "self-test", "is a self-test of the gate"),
        (("kind",), "other", "is no file of this suite"),
        (("rows",), {}, "rows is not a list"),
        (("rows", 0, "benchmark"), 7, "rows[0].benchmark is not a string"),
        (("rows", 0, "verdict"), "SLOWER?", "is 'SLOWER?', not one of FAILED, SLOWER, UNCERTAIN, FASTER, SAME"),
        (("rows", 0, "verdict"), None, "rows[0].verdict is None, not one of FAILED"),
        (("rows", 0, "base_us"), -1, "is not above zero"),
        (("rows", 0, "ratio"), 1.0, "rows[0].ratio is not an object"),
        (("rows", 0, "ratio", "estimate"), 0, "is not above zero"),
        (("rows", 0, "floor"), "small", "is not a number"),
        (("rows", 0, "pairs"), 1.5, "is not a count"),
        (("rows", 0, "expected"), "no", "is not true or false"),
        (("rows", 1, "benchmark"), "router | random | r00", "rows has 'router | random | r00' twice"),
        (("figures", 0, "base"), "6144", "is not a number"),
        (("outcome", "exit_code"), 2, "is 2, not one of 0, 1, 3"),
        (("outcome", "exit_code"), [1], "outcome.exit_code is [1], not one of 0, 1, 3"),
        (("outcome", "reasons"), "slow", "is not a list"),
        (("threshold",), 0, "is not above zero"),
        (("added",), [None], "added[0] is not a string"),
        (("machine",), [], "machine is not an object"),
    ],
)
def test_a_wrong_value_is_named(gate_document, save, path, value, reason):
    container = gate_document
    for step in path[:-1]:
        container = container[step]
    container[path[-1]] = value
    with pytest.raises(ReportError) as refusal:
        load_gate(save(gate_document))
    assert reason in str(refusal.value)


def test_numbers_that_are_none(gate_document, save):
    text = json.dumps(gate_document)
    for number, reason in (("NaN", "holds NaN"), ("1e999", "is not a finite number")):
        with pytest.raises(ReportError, match=reason):
            load_gate(save(text.replace("1.25", number, 1)))


def test_truncation_anywhere_is_refused(gate_document, save):
    text = json.dumps(gate_document)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ReportError, match="cut off"):
            load_gate(save(text[: int(len(text) * share)]))
