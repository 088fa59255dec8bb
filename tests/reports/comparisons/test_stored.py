import pytest

from reports.comparisons.comparison import Change
from reports.comparisons.stored import THRESHOLD, compare_files, judge
from reports.errors import NothingToCompareError
from reports.judging.intervals import Interval
from tests.reports.conftest import set_processes


@pytest.fixture
def compared(two_runs, save):
    """Compares the two runs as the test has left them."""
    return lambda **options: compare_files(
        *(save(run, f"{n}.json") for n, run in zip("ab", two_runs, strict=True)), **options
    )


def info(run, index=0):
    return run["benchmarks"][index]["extra_info"]


def blocks(run, index, medians):
    """Gives an entry other times, and what follows from them: the ratios of its file to the baseline."""
    set_processes(info(run, index), medians)
    # Ratios to the baseline follow from the times.
    of = {other["extra_info"]["router"]: other["extra_info"]["timing"] for other in run["benchmarks"]}
    for other in of.values():
        estimate = other["us_per_call"] / of[other["baseline"]]["us_per_call"]
        other["ratio"] = {"estimate": estimate, "low": estimate * 0.97, "high": estimate * 1.03}


@pytest.mark.parametrize(
    ("low", "high", "floor", "change"),
    [
        (1.051, 1.2, 0.0, Change.PERHAPS_SLOWER),
        (1.05, 1.2, 0.0, Change.UNCERTAIN),  # on the limit is not beyond it
        (0.8, 0.95, 0.0, Change.PERHAPS_FASTER),  # 1 / 1.05 = 0.95238
        (0.8, 0.953, 0.0, Change.UNCERTAIN),
        (0.953, 1.05, 0.0, Change.SAME),
        (0.952, 1.05, 0.0, Change.UNCERTAIN),
        (1.08, 1.2, 0.02, Change.PERHAPS_SLOWER),  # three times 2 % is more than 5 %
        (1.055, 1.2, 0.02, Change.UNCERTAIN),
        (0.93, 1.05, 0.1, Change.UNCERTAIN),  # noise does not make it easier to be the same
        (None, None, 0.0, Change.UNCERTAIN),
    ],
)
def test_the_words_of_unpaired_times(low, high, floor, change):
    assert judge(Interval(1.0, low, high), THRESHOLD, floor) is change


def test_a_run_against_itself(compared):
    comparison = compared()
    assert [row.change for row in comparison.rows] == [Change.SAME] * 3
    assert comparison.rows[0].ratio == Interval(1.0, 1.0, 1.0)
    assert (comparison.moved, comparison.excluded, comparison.added, comparison.removed) == ((), (), (), ())
    # parameters, flops, experts per token and peak memory, and 15 metrics, for each of three
    assert comparison.figures_compared == 3 * 19
    assert comparison.headline == "3 same"
    assert comparison.machine.startswith("same machine: Synthetic CPU")
    assert comparison.geometric_mean == Interval(1.0, None, None)
    assert comparison.caveat is not None
    assert "8 to 30 %" in comparison.caveat


def test_of_a_run_that_proves_nothing_no_benchmark_is_slower(two_runs, compared):
    blocks(two_runs[1], 0, [900.0, 901.0, 902.0, 903.0, 904.0])
    assert Change.PERHAPS_SLOWER in [row.change for row in compared().rows]
    two_runs[1]["study"]["preset"] = {"name": "quick", "conclusive": False}
    comparison = compared()
    assert {row.change for row in comparison.rows} == {Change.UNCERTAIN}
    assert {row.reason for row in comparison.rows} == {"a quick run proves nothing"}
    assert "b.json is a quick run. Such a run proves that the parts work" in comparison.notices[0]


def test_an_incomplete_run_is_named(two_runs, compared):
    two_runs[0]["study"]["planned"] = 148
    assert "a.json is incomplete: it holds 3 of the 148 benchmarks of its run." in compared().notices[0]


def test_one_run_is_not_compared_with_itself(two_runs, save):
    path, copied = save(two_runs[0], "a.json"), save(two_runs[0], "copy.json")
    for head in (path, copied):
        with pytest.raises(NothingToCompareError, match=r"a\.json and .*\.json are one and the same run$"):
            compare_files(path, head)


def test_a_slower_benchmark_is_a_suspicion_at_most(two_runs, compared):
    base, head = two_runs
    blocks(base, 0, [100.0, 101.0, 99.0, 100.0, 100.0])
    blocks(head, 0, [200.0, 202.0, 198.0, 200.0, 200.0])
    comparison = compared()
    (row,) = comparison.changed
    assert row.change is Change.PERHAPS_SLOWER
    assert (row.base_us, row.head_us) == pytest.approx((100.0, 200.0), rel=1e-3)
    assert row.ratio is not None
    assert row.ratio.estimate == pytest.approx(2.0)
    assert comparison.headline == "1 slower?, 2 same"
    assert comparison.geometric_mean is not None
    assert comparison.geometric_mean.estimate == pytest.approx(2 ** (1 / 3))
    assert not {Change.SLOWER, Change.FASTER} & {row.change for row in comparison.rows}


def test_a_threshold_of_the_users(two_runs, compared):
    blocks(two_runs[0], 0, [100.0, 101.0, 99.0])
    blocks(two_runs[1], 0, [120.0, 121.0, 119.0])
    assert compared(threshold=0.1).rows[0].change is Change.PERHAPS_SLOWER
    assert compared(threshold=0.3).rows[0].change is Change.SAME


def test_the_noise_is_that_of_the_noisier_run(two_runs, compared):
    info(two_runs[0])["timing"]["noise_floor"] = {"estimate": 0.99, "low": 0.98, "high": 1.0}
    info(two_runs[1])["timing"]["noise_floor"] = {"estimate": 1.03, "low": 1.02, "high": 1.04}
    row = next(row for row in compared().rows if row.benchmark == "token | random | linear")
    assert row.floor == pytest.approx(0.03)


def test_one_block_says_so(two_runs, compared):
    blocks(two_runs[0], 0, [100.0])
    (row,) = compared().changed
    assert (row.change, row.reason) == (Change.UNCERTAIN, "one process a run gives no interval")


def test_other_sizes_are_not_compared_and_new_ones_are_listed(two_runs, compared):
    base, head = two_runs
    info(head)["preset"] = "ci"
    info(head).update({"num_tokens": 32, "batch_size": 1, "sequence_length": 32})
    info(base, 1)["router"], info(head, 1)["router"] = "veteran", "newcomer"
    comparison = compared()
    assert [row.benchmark for row in comparison.rows] == ["token | random | mlp"]
    (excluded,) = comparison.excluded
    assert excluded.benchmark == "token | random | linear"
    assert excluded.reason == ("preset quick / ci; num_tokens 2048 / 32; batch_size 16 / 1; sequence_length 128 / 32")
    assert (comparison.added, comparison.removed) == (("token | random | newcomer",), ("token | random | veteran",))


@pytest.mark.parametrize(("field", "value"), [("clock_mode", "graph+events"), ("l2", "flushed")])
def test_times_of_two_clock_modes_are_not_compared(two_runs, compared, field, value):
    for entry in two_runs[1]["benchmarks"]:
        entry["extra_info"]["timing"][field] = value
    two_runs[1]["study"]["clock"] |= {{"clock_mode": "mode"}.get(field, field): value}
    name = field.partition("_")[0]
    with pytest.raises(NothingToCompareError, match=rf"3 benchmarks in common and none comparable: .*: {name} .* / "):
        compared()


def test_nothing_in_common(two_runs, compared):
    for entry in two_runs[1]["benchmarks"]:
        entry["extra_info"]["input"] = "plain"
    with pytest.raises(NothingToCompareError, match=r"a\.json and .*b\.json have no benchmark in common$"):
        compared()


def test_nothing_comparable(two_runs, compared):
    for entry in two_runs[1]["benchmarks"]:
        entry["extra_info"]["preset"] = "paper"
    with pytest.raises(
        NothingToCompareError, match=r"have 3 benchmarks in common and none comparable: .*quick / paper"
    ):
        compared()


def test_machines_that_differ(two_runs, compared):
    two_runs[1]["study"]["machine"]["os"]["release"] = "7.0.0"
    two_runs[1]["study"]["conditions"] = {"after": {"load": [9.9]}}
    comparison = compared()
    assert comparison.machine == "the machines differ, and the times compare them as much as the code"
    assert [(d.field, d.base, d.head) for d in comparison.machine_differences] == [("os.release", "6.8.0", "7.0.0")]


def test_an_older_file_is_compared_by_what_pytest_benchmark_noted(two_runs, compared):
    base, head = two_runs
    del base["study"]["machine"]
    base["machine_info"]["cpu"]["hz_actual"] = [1, 0]
    head["machine_info"]["cpu"]["hz_actual"] = [2, 0]
    assert compared().machine == "same machine: Synthetic CPU, 2 CPUs"
    head["machine_info"]["cpu"]["brand_raw"] = "Other CPU"
    assert [d.field for d in compared().machine_differences] == ["cpu.brand_raw"]


def test_other_material_is_said(two_runs, compared):
    two_runs[1]["study"]["model"]["sha256"] = "00" * 32
    two_runs[1]["study"]["texts"]["shakespeare"]["sha256"] = "00" * 32
    two_runs[1]["study"]["texts"]["new"] = {"sha256": "11" * 32}
    notices = compared().notices
    assert ["the pretrained model" in notices[0], "the text “shakespeare”" in notices[1], len(notices)] == [
        True,
        True,
        2,
    ]


def test_a_study_that_is_oddly_shaped_is_still_compared(two_runs, compared):
    two_runs[0]["study"]["texts"], two_runs[0]["study"]["model"] = ["x"], "y"
    two_runs[1]["study"]["machine"] = "a machine"
    two_runs[1]["commit_info"] = None
    assert len(compared().rows) == 3
