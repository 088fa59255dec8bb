"""Figures of what routers decide, read from what is drawn."""

import copy
from functools import partial

import matplotlib.colors
import numpy as np
import pytest

from reports.errors import MissingDataError, ReportError
from reports.figures.behaviour import co_activation, expert_load, outputs, probabilities
from reports.figures.behaviour.leading import leading_inputs
from reports.loading.load import load_report_data
from tests.reports.conftest import EXPERTS, stat

COUPLES = [[60 if i == j or i // 2 == j // 2 else 0 for j in range(EXPERTS)] for i in range(EXPERTS)]


def infos(document, input_name="contextual", scenario="router"):
    all_infos = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    return [info for info in all_infos if (info["scenario"], info["input"]) == (scenario, input_name)]


def test_load_has_a_bar_an_expert_a_point_a_seed_and_the_even_line(figure_of, document):
    for info in infos(document):
        loads = info["behaviour"]["expert_load"]["mean"]
        moved = [[loads[0] + step, *loads[1:-1], loads[-1] - step] for step in (0.01, -0.01)]
        info["behaviour"]["expert_load_by_seed"] = moved
    figure = figure_of(partial(expert_load.expert_load, "contextual"), document)
    assert [ax.get_title() for ax in figure.axes][:2] == ["linear: × 1.60", "attention: × 1.60"]
    ax = figure.axes[0]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.2, *[0.8 / 7] * 7])
    first, second, even = ax.lines
    assert (first.get_ydata()[0], second.get_ydata()[0]) == pytest.approx((0.21, 0.19))
    assert list(even.get_ydata()) == [1 / EXPERTS] * 2
    low, high = ax.get_ylim()
    assert low == 0
    assert high > 0.21


def test_shares_of_seeds_that_are_not_those_of_the_mean_are_refused(document, save):
    infos(document)[0]["behaviour"]["expert_load_by_seed"] = [[0.5, *[0.5 / 7] * 7]]
    with pytest.raises(
        ReportError, match=r"behaviour.expert_load.mean\[0\] is 0.2, not 0.5, mean of expert_load_by_seed"
    ):
        load_report_data([save(document)])


def test_pairs_stand_beside_chance(figure_of, document):
    for info in infos(document):
        info["figures"]["expert_pairs"] = COUPLES if info["router"] != "hash" else np.diag([9] * EXPERTS).tolist()
    figure = figure_of(partial(co_activation.co_activation, "contextual"), document)
    drawn = [ax for ax in figure.axes if ax.images]
    # Hash selects one expert, and has no pairs; each of the others' experts has 60, with one of seven it might have.
    assert len(drawn) == 8
    assert drawn[0].get_title() == "linear\n1 and 2: × 7.00"
    shown = drawn[0].images[0].get_array()
    assert shown[0, 1] == 2.0  # log2 of 7, cut off at a factor of four
    assert shown.mask[0, 0]


def test_without_counts_of_pairs_the_figure_says_why(document, save):
    for info in infos(document):
        del info["figures"]["expert_pairs"]
    with pytest.raises(MissingDataError, match="an older version wrote them"):
        co_activation.co_activation("contextual", load_report_data([save(document)]))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([[1]], "figures.expert_pairs has 1 items instead of 8"),
        ([[1] * 7] * 8, r"expert_pairs\[0\] has 7 items instead of 8"),
        ([[5 + (i == 1 and j == 0) for j in range(8)] for i in range(8)], r"expert_pairs\[1\]\[0\] is 6, not 5"),
        ([[5 if i != j else 4 for j in range(8)] for i in range(8)], "above the number of tokens of expert"),
        ([[-1] * 8] * 8, "expert_pairs"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(document, save, pairs, words):
    infos(document)[0]["figures"]["expert_pairs"] = pairs
    with pytest.raises(ReportError, match=words):
        load_report_data([save(document)])


def test_a_soft_router_has_a_scale_of_its_own(figure_of, document):
    figure = figure_of(partial(probabilities.by_token, "random"), document)
    soft, hard = figure.axes[1], figure.axes[5]
    assert soft.get_title() == f"attention\n{soft.images[0].norm.vmin:.3f} to {soft.images[0].norm.vmax:.3f}, own scale"
    image = soft.images[0]
    assert image.norm.vmin == pytest.approx(image.get_array().min())
    assert image.norm.vmax == pytest.approx(image.get_array().max())
    assert hard.get_title() == "hash\n0.000 to 1.000"
    assert isinstance(hard.images[0].norm, matplotlib.colors.PowerNorm)
    assert image.get_cmap().name != hard.images[0].get_cmap().name


def test_both_scales_of_figure_6_have_a_bar_and_tokens_that_are_no_words_are_quoted(figure_of, few):
    for info in infos(few):
        tokens = info["figures"]["sequence_tokens"]
        if info["router"] == "mlp":
            info["figures"]["sequence_probs"] = [[1.0] + [0.0] * (EXPERTS - 1)] * len(tokens)
        tokens[:6] = [",", " ", "\n", " the", "[CLS]", "é"]
    figure = figure_of(partial(probabilities.by_token, "contextual"), few)
    words = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert words[:6] == ["“,”", "“ ”", "“\\n”", "“ the”", "[CLS]", "é"]
    bars = [ax.get_ylabel() for ax in figure.axes if not ax.images]
    assert bars == ["probability", "probability, a panel's own scale"]


def test_of_several_sizes_the_usual_one_is_shown_and_said(document, save):
    """At 16, 2,048 and 4,096 tokens, the second at two widths."""
    kept = [
        b
        for b in document["benchmarks"]
        if (b["extra_info"]["scenario"], b["extra_info"]["input"]) == ("router", "random")
    ]
    sizes = {"T16": (16, 768), "T2048": (2048, 768), "T2048-D1024": (2048, 1024), "T4096": (4096, 768)}
    document["benchmarks"], record = [], document["study"]["inputs"]["random"]
    document["study"] |= {"inputs": {}, "noise": []}
    for label, (tokens, width) in sizes.items():
        document["study"]["inputs"][f"random@{label}"] = record | {"sizes": label}
        for benchmark in copy.deepcopy(kept[:2]):
            info = benchmark["extra_info"]
            info |= {"input": f"random@{label}", "num_tokens": tokens, "batch_size": 1, "sequence_length": tokens}
            info |= {"hidden_size": width, "flops": 0}
            info["timing"] |= {"tokens_per_call": tokens, "ns_per_token": 1e3 * info["timing"]["us_per_call"] / tokens}
            info["timing"]["gflops"] = 0.0
            info["figures"] |= {"sequence_probs": info["figures"]["sequence_probs"][:16]}
            document["benchmarks"].append(benchmark)
    data = load_report_data([save(document)])
    assert leading_inputs(data) == ["random@T2048-D1024"]
    caption = expert_load.expert_load("random@T2048-D1024", data).caption
    assert caption.endswith(
        "Of 4 sizes this is the one with T = 2,048, D = 1,024 and E = 8: the number of tokens nearest to 2,048, and "
        "the widest of such."
    )


def test_ridges_that_are_all_the_same_are_one(figure_of, document):
    for info in infos(document):
        info["behaviour"]["layer"]["copied"]["output_std"] = stat([0.06] * 3)
        info["figures"]["output_histogram"]["copied"] = infos(document)[0]["figures"]["output_histogram"]["copied"]
    copied, partitioned = figure_of(partial(outputs.distribution, "contextual"), document).axes
    assert [text.get_text() for text in copied.get_yticklabels()] == ["all 9 routers"]
    assert len(partitioned.get_yticks()) == 9
    # As high a row in both panels, one below the other: 1.3 rows and 9.3 with the room above them.
    assert (*copied.get_ylim(), *partitioned.get_ylim()) == pytest.approx((-0.3, 1, -8.3, 1))
    assert partitioned.get_gridspec().get_height_ratios() == [1, 9]


def test_ridges_have_one_scale_and_the_narrow_one_is_the_highest(figure_of, document):
    ax = figure_of(partial(outputs.distribution, "random"), document).axes[0]
    peaks = [body.get_paths()[0].vertices[:, 1].max() + row for row, body in enumerate(ax.collections)]
    # Of the synthetic outputs mlp's have a third of the others' deviation, in bins that are half of it.
    assert peaks[2] == pytest.approx(0.85)
    assert [peaks[0], peaks[1], peaks[3]] == pytest.approx([0.85 * 0.05 / 0.16] * 3, rel=0.04)


def test_a_ridge_that_is_far_too_high_is_cut_off(few, save, figure_of):
    spike = {"edges": [-1.0, -1e-6, 1e-6, 1.0], "counts": [10, 80, 10]}
    for info in infos(few, "random"):
        if info["router"] == "mlp":
            info["figures"]["output_histogram"]["random"] = spike
    plot = outputs.distribution("random", load_report_data([save(few)]))
    assert "the narrower, the higher (mlp: cut off at the top)." in plot.caption
    bodies = figure_of(partial(outputs.distribution, "random"), few).axes[0].collections
    assert bodies[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(0.85 / 4, rel=0.01)
