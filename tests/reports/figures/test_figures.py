"""Figures of the language model are drawn whatever the files hold; what they look like is for eyes."""

from functools import partial

import matplotlib.pyplot as plt
import pytest

from reports.errors import MissingDataError
from reports.figures import language_model
from reports.figures.behaviour import outputs
from reports.figures.fine_tuning import losses, perplexity
from reports.figures.style import log_ticks, report_style, save
from reports.loading.load import load_report_data
from tests.reports.conftest import set_processes

HOSTILE = ("<script>alert(1)</script>", "$x^2$ \x1b[31m\n", "_private")


@pytest.fixture
def draw(save_study):
    def drawn(builder, document):
        plot = builder(save_study(document))
        with report_style():
            figure = plot.draw()
            return figure, save(figure, "svg").decode()

    return drawn


@pytest.fixture
def save_study(save):
    return lambda document: load_report_data([save(document)])


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_visible()]


def test_a_panel_per_router_and_one_for_the_paper(draw, tuning):
    figure, svg = draw(losses.curves, tuning)
    assert titles(figure)[:2] == ["linear", "attention"]
    assert titles(figure)[-1] == "the paper, on Qwen1.5-MoE"
    assert len(titles(figure)) == 10
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "stock", "random start", "random start, frozen", "distilled start", "distilled start, frozen",
    ]  # fmt: skip
    assert "training loss" in svg


def test_without_a_router_of_the_paper_its_panel_is_missing(draw, tuning):
    tuning["runs"] = [run for run in tuning["runs"] if run["router"] in ("stock", "mlp")]
    assert titles(draw(losses.curves, tuning)[0]) == ["mlp"]
    tuning["runs"] = [run for run in tuning["runs"] if run["router"] == "stock"]
    assert titles(draw(losses.curves, tuning)[0]) == ["stock"]


def test_a_loss_that_no_logarithm_has_is_not_drawn(draw, tuning):
    for run in tuning["runs"]:
        run["losses"][0]["loss"], run["losses"][1]["loss"] = 0.0, None
    figure, _ = draw(losses.curves, tuning)
    assert list(figure.axes[0].lines[0].get_xdata()) == [30, 40, 50]


def test_perplexity_has_a_panel_per_start_and_a_row_per_router(draw, tuning):
    figure, svg = draw(perplexity.slopes, tuning)
    assert titles(figure) == ["random start", "distilled start"]
    assert len(figure.axes[0].get_yticks()) == 9
    assert "untouched model" in svg
    assert "stock, trained" in svg


def test_perplexity_before_training_alone_is_drawn(draw, tuning):
    for run in tuning["runs"]:
        run |= {"losses": [], "perplexity": {"before": 61.0, "after": None}}
    _, svg = draw(perplexity.slopes, tuning)
    assert "before" in svg
    assert "stock, trained" not in svg


def test_ratios_have_a_panel_per_scenario_and_leave_the_baseline_out(draw, language_document):
    figure, _ = draw(language_model.ratios, language_document)
    assert [title.partition("\n")[0] for title in titles(figure)] == ["Inject", "Prefill", "Decode", "Fine-tuning step"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][:2] == ["linear", "attention"]


def test_a_panel_says_who_stands_apart_from_the_models_own_gates(draw, save_study, language_document):
    infos = [benchmark["extra_info"] for benchmark in language_document["benchmarks"]]
    stock = {info["scenario"]: info["timing"]["us_per_call"] for info in infos if info["router"] == "stock"}
    for info in infos:
        centre = {"prefill": 1.0, "decode": {"mlp": 2.0, "hash": 0.5}.get(info["router"], 1.0)}.get(info["scenario"])
        if centre and info["router"] != "stock":
            set_processes(info, [centre * stock[info["scenario"]]] * 5)
            info["timing"]["ratio"] = {"estimate": centre, "low": centre * 0.99, "high": centre * 1.01}
    figure, _ = draw(language_model.ratios, language_document)
    assert titles(figure)[:3] == [
        "Inject\nall 9 slower: × 1.32 to 8.70", "Prefill\nall level with stock",
        "Decode\nmlp slower, hash faster, 7 level",
    ]  # fmt: skip
    plot = language_model.ratios(save_study(language_document))
    assert plot.caption.endswith("so other work of the model: hash and hadamard_unconstrained.")
    language_document["study"]["preset"] = {"name": "smoke"}
    assert "Titles say" in plot.caption
    assert "Titles say" not in language_model.ratios(save_study(language_document)).caption
    assert titles(draw(language_model.ratios, language_document)[0])[0] == "Inject"


def test_hostile_names_are_drawn_as_they_are(draw, tuning, language_document):
    for run in tuning["runs"]:
        if run["router"] in ("mlp", "hash", "hybrid"):
            run["router"] = HOSTILE[("mlp", "hash", "hybrid").index(run["router"])]
    for benchmark in language_document["benchmarks"]:
        if benchmark["extra_info"]["router"] == "mlp":
            benchmark["extra_info"] |= {"router": HOSTILE[0], "initialise": HOSTILE[1]}
    for builder, document in (
        (losses.curves, tuning),
        (perplexity.slopes, tuning),
        (language_model.ratios, language_document),
    ):
        _, svg = draw(builder, document)
        assert "&lt;script&gt;" in svg
        assert "<script" not in svg
        assert "\x1b" not in svg


def test_the_deviation_beside_a_ridge_is_the_first_seeds_or_none(draw, document):
    for benchmark in document["benchmarks"]:
        for layer in benchmark["extra_info"]["behaviour"]["layer"].values():
            layer["output_std"] = {"mean": None, "sd": None, "values": [None, 0.777, 0.777]}
    _, svg = draw(partial(outputs.distribution, "random"), document)
    assert "σ" not in svg


@pytest.mark.parametrize("builder", [losses.curves, perplexity.slopes])
def test_without_its_data_a_figure_says_so(save_study, tuning, document, builder):
    with pytest.raises(MissingDataError, match="fine-tuning"):
        builder(save_study(document))
    tuning["runs"] = [run for run in tuning["runs"] if run["router"] == "stock"]
    for run in tuning["runs"]:
        run["losses"] = []
    with pytest.raises(MissingDataError, match="the files hold no"):
        builder(save_study(tuning))


def test_ratios_without_another_router_say_so(save_study, language_document):
    language_document["benchmarks"] = language_document["benchmarks"][:1]
    with pytest.raises(MissingDataError, match="no timing of another router"):
        language_model.ratios(save_study(language_document))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.98, 1.3, {1.0, 1.1, 1.2, 1.3}),
        (1.2, 5.2, {1.5, 2.0, 3.0, 5.0}),
        (0.9, 60.0, {1.0, 2.0, 5.0, 10.0, 20.0, 50.0}),
        (0.0005, 12.0, {0.001, 0.01, 0.1, 1.0, 10.0}),
    ],
)
def test_a_logarithmic_axis_is_labelled_whatever_its_span(low, high, labels):
    figure, ax = plt.subplots()
    ax.set(xscale="log", xlim=(low, high))
    log_ticks(ax.xaxis, low, high)
    shown = {round(tick, 6) for tick in ax.get_xticks() if low <= tick <= high}
    plt.close(figure)
    assert labels <= shown
    assert len(shown) <= 8
