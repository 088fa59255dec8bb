"""Figures of times and memory, read from what is drawn."""

from itertools import pairwise
from math import isnan
from statistics import geometric_mean

import pytest

from reports.errors import MissingDataError, ReportError
from reports.figures.times import drift, durations, latency, memory
from reports.loading.load import load_report_data
from tests.reports.conftest import make_document, set_processes


def parts(values):
    """The parts of a line that has a gap behind each."""
    gaps = [place for place, value in enumerate(values) if isnan(value)]
    return [values[start:end] for start, end in zip((0, *(gap + 1 for gap in gaps)), gaps, strict=False)]


def move(info, *factors):
    """Gives an entry processes that differ by these factors, and the same mean."""
    mean = geometric_mean(factors)
    set_processes(info, [info["timing"]["us_per_call"] * factor / mean for factor in factors])


def infos(document, scenario):
    all_infos = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    return [info for info in all_infos if info["scenario"] == scenario]


def test_the_papers_hash_is_an_arrow_with_its_number_and_there_is_a_line_at_one(figure_of, document):
    ax = figure_of(latency.ratios, document).axes[0]
    assert [text.get_text() for text in ax.texts] == ["paper: 1,214 →"]
    assert ax.get_xlim()[1] < 100
    (paper,) = [line for line in ax.lines if line.get_label() == "paper (A100)"]
    assert list(paper.get_xdata()) == pytest.approx([1, 0.29 / 0.07, 0.23 / 0.07, 0.58 / 0.07, 0.88 / 0.07])
    assert any(list(line.get_xdata()) == [1, 1] for line in ax.lines)


def test_inputs_of_several_widths_have_them_in_the_legend(figure_of, few, save):
    names = [text.get_text() for text in figure_of(latency.ratios, few).legends[0].get_texts()]
    assert {"random, D = 768", "contextual, D = 384"} <= set(names)
    assert "Inputs differ in their width D" in latency.ratios(load_report_data([save(few)])).caption
    for benchmark in few["benchmarks"]:
        benchmark["extra_info"]["hidden_size"] = 384
    names = [text.get_text() for text in figure_of(latency.ratios, few).legends[0].get_texts()]
    assert {"random", "contextual"} <= set(names)
    assert "Inputs differ" not in latency.ratios(load_report_data([save(few)])).caption


def test_a_line_a_process_and_one_for_all_of_them(figure_of, with_durations):
    figure = figure_of(durations.routers, with_durations)
    assert [ax.get_title() for ax in figure.axes] == ["Router alone", "One token", "Training step"]
    marks = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    # Five processes that differ by a per cent each: beside the median, of the third, the first stands at 1 / 1.02.
    processes, together = parts(marks["a process"]), parts(marks["all processes"])
    assert (len(processes), len(together)) == (5 * 9, 9)
    assert processes[0] == pytest.approx([1 / 1.02] * 5)
    assert processes[4] == pytest.approx([1.04 / 1.02] * 5)
    assert (min(together[0]), max(together[0])) == pytest.approx((1 / 1.02, 1.04 / 1.02))
    assert marks["median"] == [1] * 9
    assert marks["95th percentile"] == pytest.approx([1.04 / 1.02] * 9)
    assert figure.axes[0].texts[0].get_text() == "420 µs\n95 %: × 1.02"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "a process", "all processes", "median", "95th percentile",
    ]  # fmt: skip
    assert figure.axes[0].get_ylabel() == "share of calls, 0 to 100 % in each row"


def test_one_call_a_process_has_no_spread(language_document, save):
    for benchmark in language_document["benchmarks"]:
        info = benchmark["extra_info"]
        if info["scenario"] != "decode":
            info["timing"]["rounds"] = 1
            benchmark["stats"]["data"] = [1e-6 * us for us in info["timing"]["process_us"]]
    plot = durations.language_model(load_report_data([save(language_document)]))
    assert "one call of each router: Inject, Prefill and Fine-tuning step." in plot.caption
    language_document["benchmarks"] = [b for b in language_document["benchmarks"] if "decode" not in b["name"]]
    with pytest.raises(MissingDataError, match="one call of each router, which has no spread: Inject"):
        durations.language_model(load_report_data([save(language_document)]))


def test_without_the_data_or_with_part_of_them_there_are_no_durations(document, with_durations, save):
    for benchmark in with_durations["benchmarks"]:
        del benchmark["stats"]["data"][0]
    with pytest.raises(MissingDataError, match="no single durations"):
        durations.routers(load_report_data([save(with_durations)]))


@pytest.mark.parametrize("wrong", ["1", None, True, 0, -1e-6])
def test_a_duration_that_is_none_is_refused(with_durations, save, wrong):
    with_durations["benchmarks"][2]["stats"]["data"][3] = wrong
    with pytest.raises(ReportError, match=r"benchmarks\[2\].stats.data\[3\] is .*, not a duration in seconds above 0"):
        load_report_data([save(with_durations)])


def test_drift_has_a_panel_a_group_that_moved_and_the_median_on_top(figure_of, document):
    for info in infos(document, "token"):
        factors = (0.9, 1.0, 1.2, 1.0, 1 / (0.9 * 1.2))
        set_processes(info, [factor * info["timing"]["us_per_call"] for factor in factors])
    figure = figure_of(drift.drift, document)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == ["One token, random, D = 768", "One token, contextual, D = 384"]
    ax = figure.axes[0]
    middle = next(line for line in ax.lines if line.get_label() == "median of the routers")
    assert list(middle.get_ydata()) == pytest.approx([0.9, 1.0, 1.2, 1.0, 1 / (0.9 * 1.2)])


def test_of_a_quiet_machine_the_three_groups_that_moved_most_are_shown(few, save):
    move(infos(few, "training")[1], 0.96, 1.0, 1.04)
    plot = drift.drift(load_report_data([save(few)]))
    assert plot.title == "How times moved from process to process: by up to 0.0 %"
    assert plot.caption.startswith(
        "In no group do the slowest and the fastest process differ by more than 0.0 %: a quiet machine. The 3 that "
        "moved most are shown. Beside the median of its group no router moved by more than 8.3 %."
    )


def test_a_router_that_moved_otherwise_than_its_group_is_named(few, save):
    move(infos(few, "training")[1], 0.5, 1.0, 1.0)
    caption = drift.drift(load_report_data([save(few)])).caption
    assert "attention moved most, by a factor of 2.00 (“Training step, random, D = 768”)." in caption


def test_memory_has_a_point_a_router_and_a_zero_where_nothing_is_allocated(figure_of, document):
    for place, info in enumerate(infos(document, "router")):
        info["peak_memory"] = (place % 9) << 20
    figure = figure_of(memory.routers, document)
    ax = figure.axes[0]
    assert ax.get_title() == "Router alone"
    assert sorted(ax.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert ax.texts[0].get_text() == "0"


def test_what_all_routers_need_alike_is_a_sentence(figure_of, few, save):
    for info in infos(few, "token"):
        info["peak_memory"] = (1 << 20) if info["input"] == "random" else 3 << 20
    plot = memory.routers(load_report_data([save(few)]))
    assert "allocate the same: One token: random, D = 768 1.00 MiB, contextual, D = 384 3.00 MiB." in plot.caption
    assert [ax.get_title() for ax in figure_of(memory.routers, few).axes] == ["Router alone", "Training step"]
    for benchmark in few["benchmarks"]:
        benchmark["extra_info"]["peak_memory"] = 5 << 20
    with pytest.raises(MissingDataError, match=r"the same \(Router alone: 5.00 MiB; One token: 5.00 MiB; Training"):
        memory.routers(load_report_data([save(few)]))


def test_without_memory_the_figure_says_so(document, save):
    for benchmark in document["benchmarks"]:
        benchmark["extra_info"]["peak_memory"] = None
    with pytest.raises(MissingDataError, match="no peak memory"):
        memory.routers(load_report_data([save(document)]))


@pytest.mark.parametrize("number", [1, 40])
def test_names_do_not_overlap_whatever_their_number_and_length(figure_of, number):
    names = ("linear", *(f"router_{place}_{'x' * 180}" for place in range(number - 1)))
    document = make_document(names)
    document["benchmarks"] = document["benchmarks"][:number]
    figure = figure_of(latency.ratios, document)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert len(labels) == number
    assert max(len(text.get_text()) for text in labels) <= 40
    boxes = [text.get_window_extent() for text in labels]
    assert all(below.y1 <= above.y0 for above, below in pairwise(boxes))
    assert all(ax.get_window_extent().width > 200 for ax in figure.axes)
