"""A run at several sizes: its table and its figure, from invented entries."""

import copy
from functools import partial
from statistics import geometric_mean

import pytest

from reports.__main__ import main
from reports.figures.style import report_style
from reports.figures.style import save as save_figure
from reports.figures.times import scaling as figures
from reports.loading.load import load_report_data
from reports.records.size_series import size_series
from reports.tables.times import scaling
from tests.reports.conftest import EXPERTS, set_processes

TOKENS = (1, 4, 16, 64, 256)
# Of each process: linear grows as T, mlp as the square root of T in the mean.
SLOPES = {"linear": (1.0, 1.0, 1.0), "mlp": (0.4, 0.5, 0.6), "hash": (0.5, 0.5, 0.5)}


def at(benchmark, tokens):
    """The same benchmark at so many tokens, with times that its router's slopes give."""
    found = copy.deepcopy(benchmark)
    info = found["extra_info"]
    info |= {"input": f"random@T{tokens}", "num_tokens": tokens, "batch_size": 1, "sequence_length": tokens}
    info |= {"selection": None if info["router"] == "hash" else "softmax", "flops": 0}
    info.pop("figures")
    found["name"] += f"@T{tokens}"
    info["timing"]["tokens_per_call"] = tokens
    set_processes(info, [10.0 * tokens**each for each in SLOPES[info["router"]]])
    ratio = info["timing"]["us_per_call"] / (10.0 * tokens)
    info["timing"]["ratio"] = {"estimate": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}
    return found


@pytest.fixture(scope="module")
def sized(pristine):
    document = copy.deepcopy(pristine)
    of_random = [
        each
        for each in document["benchmarks"]
        if (each["extra_info"]["scenario"], each["extra_info"]["input"]) == ("router", "random")
        and each["extra_info"]["router"] in SLOPES
    ]
    document["benchmarks"] = [at(each, tokens) for tokens in TOKENS for each in of_random]
    record = document["study"]["inputs"]["random"]
    document["study"]["inputs"] = {
        f"random@T{tokens}": record | {"label": f"random@T{tokens}", "sizes": f"T{tokens}"} for tokens in TOKENS
    }
    document["study"]["noise"] = []
    return document


@pytest.fixture
def data(sized, save):
    return load_report_data([save(sized)])


def test_a_series_has_what_differs_in_one_size_alone(data):
    (series,) = size_series(data.entries)
    assert (series.axis, series.scenario, series.input) == ("num_tokens", "router", "random")
    assert series.alike == f"D = 768, I = 3,072, E = {EXPERTS}, K = 2, float32, softmax"
    assert list(series.times) == ["linear", "mlp", "hash"]
    assert series.sizes == list(TOKENS)
    assert series.times["mlp"][4] == pytest.approx((10 * 4**0.4, 20, 10 * 4**0.6))


def test_the_table_has_both_slopes_with_intervals_over_processes(data):
    (build,) = [builder for _, builder in _shown(data)]
    table = build(data)
    shown = {row[0]: row for row in table.shown()}
    assert shown["linear"][1:6] == ["5", "1", "256", "10.0 µs", "2.56 ms"]
    assert shown["linear"][6:] == ["1.000 [1.000, 1.000]"] * 2
    # 0.5 ± 4.3027 · 0.1 / √3 of two degrees of freedom
    assert shown["mlp"][6:] == ["0.500 [0.252, 0.748]"] * 2


def test_the_slope_of_a_floor_stands_beside_its_routers_where_it_was_timed(sized, save):
    document = copy.deepcopy(sized)
    for info in (each["extra_info"] for each in document["benchmarks"]):
        if info["router"] == "linear":
            times = [4.0 * info["num_tokens"] ** slope for slope in (1.1, 1.2, 1.3)]
            us = geometric_mean(times)
            over = info["timing"]["us_per_call"] / us
            ratio = {"estimate": over, "low": 0.9 * over, "high": 1.1 * over}
            info["timing"]["floor"] = {"us_per_call": us, "process_us": times, "ratio": ratio}
    data = load_report_data([save(document)])
    (series,) = size_series(data.entries)
    assert list(series.floors) == ["linear"]
    shown = {row[0]: row for row in scaling.scaling(series, data).shown()}
    # 1.2 ± 4.3027 · 0.1 / √3 of two degrees of freedom
    assert shown["linear"][-1] == "1.200 [0.952, 1.448]"
    assert shown["mlp"][-1] == "–"


def _shown(data):
    return [(str(series), partial(scaling.scaling, series)) for series in scaling.series_shown(data)]


def test_the_figure_has_a_line_a_router_and_its_slope(data):
    (series,) = size_series(data.entries)
    with report_style():
        figure = figures.scaling(series, data).draw()
        assert save_figure(figure, "svg")
    (proportion,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert sorted(text.get_text() for text in figure.axes[0].texts) == [
        "hash  0.50 [0.50, 0.50]", "in proportion", "linear  1.00 [1.00, 1.00]", "mlp  0.50 [0.25, 0.75]",
    ]  # fmt: skip
    (low, high), (first, last) = proportion.get_xdata(), proportion.get_ydata()
    assert last / first == pytest.approx(high / low)


def test_sizes_that_a_process_less_has_timed_and_what_differs_otherwise_are_no_part_of_it(sized, save):
    document = copy.deepcopy(sized)
    infos = [each["extra_info"] for each in document["benchmarks"]]
    shorter = next(info for info in infos if (info["router"], info["num_tokens"]) == ("mlp", 16))
    set_processes(shorter, [40.0, 40.0])  # the square root of 16, times 10
    for info in infos:
        if info["router"] == "hash" and info["num_tokens"] > 4:
            info["dtype"] = "bfloat16"
    (series,) = size_series(load_report_data([save(document)]).entries)
    assert list(series.times["mlp"]) == [1, 4, 64, 256]
    assert "hash" not in series.times


def test_the_page_has_the_table_and_the_figure(sized, save, tmp_path):
    assert main([str(save(sized)), "-o", str(tmp_path / "report")]) == 0
    for folder in ("tables", "figures"):
        names = {path.stem for path in (tmp_path / "report" / folder).iterdir()}
        assert any(name.startswith("scaling-router-random-tokens") for name in names)


def test_an_ordinary_run_has_none(document, save):
    assert size_series(load_report_data([save(document)]).entries) == []
