"""Figures of times and memory, read from what is drawn."""

from itertools import pairwise

import pytest

from reports.errors import MissingDataError, ReportError
from reports.figures.times import drift, durations, latency, memory
from reports.loading.load import load_report_data
from tests.reports.conftest import make_document, set_processes


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


def test_a_line_a_process_and_one_for_all_of_them(figure_of, with_durations):
    figure = figure_of(durations.routers, with_durations)
    assert [ax.get_title() for ax in figure.axes] == ["Router alone", "One token", "Training step"]
    first = figure.axes[0].lines[:6]
    # Five processes that differ by a per cent each: beside the median, of the third, the first stands at 1 / 1.02.
    assert first[0].get_xdata() == pytest.approx([1 / 1.02] * 5)
    assert first[4].get_xdata() == pytest.approx([1.04 / 1.02] * 5)
    assert (min(first[5].get_xdata()), max(first[5].get_xdata())) == pytest.approx((1 / 1.02, 1.04 / 1.02))
    assert figure.axes[0].texts[0].get_text() == "× 1.02"


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


def test_drift_has_a_panel_a_group_and_the_median_on_top(figure_of, document):
    for info in infos(document, "token"):
        factors = (0.9, 1.0, 1.2, 1.0, 1 / (0.9 * 1.2))
        set_processes(info, [factor * info["timing"]["us_per_call"] for factor in factors])
    figure = figure_of(drift.drift, document)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert {"Router alone, random", "One token, contextual"} <= set(titles)
    ax = figure.axes[titles.index("One token, random")]
    middle = next(line for line in ax.lines if line.get_label() == "median of the routers")
    assert list(middle.get_ydata()) == pytest.approx([0.9, 1.0, 1.2, 1.0, 1 / (0.9 * 1.2)])


def test_memory_has_a_point_a_router_and_a_zero_where_nothing_is_allocated(figure_of, document):
    for place, info in enumerate(infos(document, "router")):
        info["peak_memory"] = (place % 9) << 20
    figure = figure_of(memory.routers, document)
    ax = figure.axes[0]
    assert ax.get_title() == "Router alone"
    assert sorted(ax.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert ax.texts[0].get_text() == "0"


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
