"""Ours beside others' code: figures worked out by hand of a file whose peers take known multiples of our time."""

import copy
import json

import pytest

from reports.__main__ import main
from reports.errors import MissingDataError, ReportError
from reports.figures import peers as figures
from reports.figures.style import report_style
from reports.loading.load import load_report_data
from reports.page.sections import build_sections
from reports.tables import peers
from reports.tables.times import noise
from tests.reports.conftest import make_peers_document, set_processes


@pytest.fixture
def document():
    return make_peers_document()


@pytest.fixture
def load(document, save):
    return lambda: load_report_data([save(document)])


def info(document, at, router):
    infos = (benchmark["extra_info"] for benchmark in document["benchmarks"])
    return next(each for each in infos if (each["input"], each["router"]) == (at, router))


def test_a_row_a_peer_with_our_time_over_its(load):
    table = peers.of_family("layer_small", load())
    assert len(table.rows) == 8  # 2 modes, 2 dtypes, 2 peers
    first = dict(zip(table.headings, table.shown()[0], strict=True))
    # 1 / 2, and the bounds 1 / 2.04 and 1 / 1.96
    assert first == {
        "Peer": "eager@transformers", "Mode": "forward", "Tokens": "64", "Dtype": "float32", "Ours": "1.00 ms",
        "Peer's": "2.00 ms", "Ratio": "0.500 [0.490, 0.510]", "Ours is": "faster", "Our memory (MiB)": "4.00",
        "Peer's (MiB)": "8.00", "Off the reference": "3e-07", "Same tokens": "100.0 %",
    }  # fmt: skip
    assert table.title == "Beside others' code: small layer"
    assert "D = 768, I = 3,072, E = 8, K = 2." in table.caption


def test_the_fastest_peer_of_each_size_and_what_that_says_in_all(document, load):
    # Ours takes 1 / 1.25 of grouped_mm's time in three places, and twice that of a peer in one.
    slow = info(document, "layer_small_training@T64-bfloat16", "grouped_mm@transformers")
    set_processes(slow, [500.0] * 5)
    slow["timing"]["ratio"] = {"estimate": 0.5, "low": 0.49, "high": 0.51}
    table = peers.summary(load())
    shown = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.shown()}
    forward, training = shown["small layer"], shown["small layer, forward and backward"]
    assert (forward["Sizes"], forward["Mean ratio"], forward["Ours is"]) == ("2", "0.800", "faster in 2")
    assert (training["Mean ratio"], training["Least"], training["Largest"]) == ("1.265", "0.800", "2.000")  # √(0.8·2)
    assert training["Largest at"] == "64 tokens, bfloat16: grouped_mm@transformers"
    assert (training["Ours is"], forward["Memory over the peer's"]) == ("faster in 1, slower in 1", "0.800")
    said, absent = table.findings
    # (0.8³ · 2)^¼
    assert said.startswith("Beside the fastest peer of each of 4 works and sizes, ours takes 1.006 times the time")
    assert "Most at layer_small_training, 64 tokens, bfloat16: 2.000 [1.961, 2.041] times grouped_mm@" in said
    assert absent == "Peers that were not measured: deepgemm@transformers; the reasons stand in their table."
    assert table.caption.startswith("Peers of transformers 5.23.0.")


def test_without_ours_in_the_file_the_ratios_are_known_still(document, load):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["router"] != "linear"]
    row = peers.of_family("layer_small", load()).rows[0]
    assert (row["ours_us"], row["our_memory"], row["memory_ratio"]) == (1000.0, None, None)


def test_who_was_not_measured_stands_there_once_with_the_reason(load, document):
    assert peers.left_out(load()).shown() == [
        ["deepgemm@transformers", "it needs <b>Hopper</b>", "2", "layer_small@T64-float32"]
    ]
    document["study"]["peers"]["left_out"] = []
    with pytest.raises(MissingDataError, match="every peer was measured"):
        peers.left_out(load())


def test_a_file_whose_peers_could_none_be_timed_says_so(document, load):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["router"] == "linear"]
    (section, last) = build_sections(load())
    assert "Beside the fastest peer: left out, because the files hold no peer that was timed." in last.left_out
    assert [table.name for table in section.tables] == ["peers-left-out"]


def test_a_figure_has_a_panel_a_mode_and_a_row_a_peer(load):
    plot = figures.ratios("layers", load())
    with report_style():
        drawn = plot.draw()
    assert [ax.get_title() for ax in drawn.axes] == ["forward", "training"]
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert labels == ["layer small, eager, T = 64", "layer small, grouped_mm, T = 64"]


def test_the_page_has_a_section_with_names_as_text(document, save, tmp_path):
    for benchmark in document["benchmarks"]:
        given = benchmark["extra_info"]
        given["router"] = given["router"].replace("eager@transformers", "<script>alert(1)</script>")
    assert main([str(save(document)), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "it needs &lt;b&gt;Hopper" in page
    assert 'id="peers"' in page
    assert (tmp_path / "report" / "tables" / "peers-layer_small.csv").exists()


def test_groups_of_peers_do_not_fill_the_table_of_noise(document, load):
    document["study"]["noise"] = [
        {
            "scenario": "peers",
            "input": "layer_small@T64-float32",
            "noise_floor": document["benchmarks"][0]["extra_info"]["timing"]["noise_floor"],
            "resolution": 0.02,
        }
    ]
    with pytest.raises(MissingDataError, match="state no noise"):
        noise.noise(load())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d["study"]["peers"]["works"].clear(), "work is 'layer_small', none of study.peers.works"),
        (lambda d: d["benchmarks"][0]["extra_info"].update(mode="training"), "mode is 'training', and 'forward' in"),
        (lambda d: d["benchmarks"][0]["extra_info"].update(work="sonnet"), "work is 'sonnet', not 'layer_small', of"),
        (lambda d: d["benchmarks"][0]["extra_info"].update(agreement=1.5), "agreement is not between 0 and 1: 1.5"),
        (lambda d: d["benchmarks"].append(copy.deepcopy(d["benchmarks"][1])), "twice"),
        (
            lambda d: d["study"]["peers"]["left_out"][0].update(peer="eager@transformers"),
            "router is 'eager@transformers', which study.peers.left_out has at this work",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_a_line(document, save, spoil, said):
    spoil(document)
    with pytest.raises(ReportError) as refused:
        load_report_data([save(document)])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_older_file_without_peers_is_read(document, save):
    del document["study"]["peers"]
    document["benchmarks"] = []
    with pytest.raises(ReportError, match="holds no benchmark"):
        load_report_data([save(json.loads(json.dumps(document)))])
