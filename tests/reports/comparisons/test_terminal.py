import pytest

from reports.comparisons.gate import load_gate
from reports.comparisons.terminal import to_terminal

HOSTILE = "router | random | <b>\x1b[2J\r\nNo regression.\u202e"


@pytest.fixture
def shown(save):
    """The lines that a gate's document becomes."""
    return lambda document, **options: to_terminal(load_gate(save(document)), **options).splitlines()


def test_the_whole(shown, gate_document):
    assert (
        shown(gate_document)
        == """\
base  main  1a2b3c4d  Shorter lines
head  fuse  5e6f7a8b  Fuse the softmax
preset ci, device cpu, 1 thread, 6 to 12 pairs of fresh processes, 312 s
machine: Synthetic CPU, 2 CPUs, 16.0 GiB, Linux 6.8.0, Python 3.12.3, torch 2.13.0
Note: The working tree has uncommitted changes, which are not compared.

benchmark                     base     head                 ratio   noise  verdict
router | random | broken    800 µs        –                     –       –  FAILED
training | random | mlp     800 µs  1.00 ms  1.250 [1.240, 1.260]  ±0.4 %  SLOWER (expected)
router | random | linear    800 µs   883 µs  1.104 [1.094, 1.114]  ±0.4 %  SLOWER
token | random | hybrid     800 µs   824 µs  1.030 [1.020, 1.040]  ±0.4 %  UNCERTAIN
router | contextual | hash  800 µs   640 µs  0.800 [0.790, 0.810]  ±0.4 %  FASTER
14 benchmarks are the same (--all shows them)

router | random | broken: FAILED: Head disagrees with the reference
router | random | linear: SLOWER: in the first look 1.100 [1.090, 1.110]
token | random | hybrid: UNCERTAIN: The time was up after 6 pairs

Figures that moved, of 1,248 compared:
  router | random | linear  parameters       6,144  →  6,152  not expected
  router | random | mlp     token_entropy  1.95241  →      –  expected

Only in head:
  router | random | newcomer

Only in base:
  router | random | veteran

Geometric mean of head / base over 18 benchmarks: 1.002 [1.000, 1.004]

Regression:
  router | random | linear is slower: 1.104 [1.094, 1.114].
  router | random | broken failed.""".splitlines()
    )


@pytest.mark.parametrize(("same", "show_all", "folded"), [(12, False, False), (13, False, True), (13, True, False)])
def test_many_equal_rows_are_folded_unless_all_are_asked_for(shown, gate_factory, same, show_all, folded):
    gate_row, make_gate = gate_factory
    lines = shown(make_gate([gate_row(f"router | random | r{n}") for n in range(same)]), show_all=show_all)
    assert sum(line.endswith("SAME") for line in lines) == (0 if folded else same)
    assert (f"{same} benchmarks are the same (--all shows them)" in lines) == folded
    # Without a changed row there is no head of a table above nothing.
    assert any(line.startswith("benchmark ") for line in lines) != folded
    assert lines[-1] == "No regression."


def test_one_reason_stands_in_the_last_line(shown, gate_factory):
    _, make_gate = gate_factory
    lines = shown(make_gate(exit_code=3, reasons=["No benchmark is in both revisions."]))
    assert lines[-1] == "Nothing to compare: No benchmark is in both revisions."
    assert not [line for line in lines if "mean" in line]


def test_long_lists_are_cut_unless_all_are_asked_for(shown, gate_factory):
    _, make_gate = gate_factory
    document = make_gate(added=[f"router | random | r{n}" for n in range(25)])
    assert "  and 5 more (--all shows them)" in shown(document)
    assert "  router | random | r24" in shown(document, show_all=True)


def test_names_cannot_write_lines_of_their_own_or_move_the_cursor(shown, gate_factory):
    gate_row, make_gate = gate_factory
    row = gate_row(HOSTILE, "SLOWER", 1.5, reason=HOSTILE)
    figure = {"benchmark": HOSTILE, "figure": HOSTILE, "base": 1, "head": 2, "expected": False}
    document = make_gate([row], 1, [HOSTILE], notices=[HOSTILE], figures=[figure], added=[HOSTILE], select=HOSTILE)
    document["head"]["subject"] = document["base"]["ref"] = document["machine"]["cpu"]["model"] = HOSTILE
    lines = shown(document)
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("No regression")]


def test_what_many_rows_say_and_many_reasons_are_counted(shown, gate_factory):
    gate_row, make_gate = gate_factory
    rows = [gate_row(f"router | random | r{n}", "UNCERTAIN", 1.03, reason="Not settled.") for n in range(9)]
    figures = [
        {"benchmark": f"b{n}", "figure": "cv", "base": 1, "head": 2, "expected": False} for n in range(25)
    ]  # fmt: skip
    document = make_gate(rows, 1, [f"b{n}: cv moved" for n in range(25)], figures=figures)
    lines = shown(document)
    assert [line for line in lines if "Not settled" in line] == [
        "router | random | r0: UNCERTAIN: Not settled (and 8 more benchmarks likewise)"
    ]
    assert lines[-2:] == ["  b19: cv moved.", "  and 5 more (--all shows them)"]
    assert shown(document, show_all=True)[-1] == "  b24: cv moved."
