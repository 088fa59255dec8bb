"""python -m reports traces: from files to a page, or to one line and nothing written."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from reports.__main__ import main
from reports.traces import RoutingTrace, TraceError, analyse, read_trace
from reports.traces.decisions import check_export, export
from reports.traces.page import PLAN
from reports.traces.tokens import Tokens
from reports.traces.views.shown import figure, table
from tests.reports.traces.conftest import EXPERTS, LAYERS, TOKENS, TOP_K, make_selections

HOSTILE = ("<script>alert(1)</script>", "=cmd|'/c calc'", "a|b_c\x1b[31m\u202e", "x" * 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of one trace, of another of the same tokens, and beside them; names mean harm."""
    found = tmp_path_factory.mktemp("traces")
    selections = make_selections()
    other = selections.copy()
    other[:5] = (other[:5] + 1) % EXPERTS
    np.savez(found / "<i>part.npz", routed_experts=selections[:15])
    np.save(found / "rest.npy", selections[15:])
    np.save(found / "other.npy", other)
    (found / "domains.json").write_text(json.dumps([HOSTILE[t % 4] for t in range(TOKENS)]))
    (found / "mask.txt").write_text("\n".join("1" if t else "0" for t in range(TOKENS)))
    return found


@pytest.fixture(scope="module")
def report(folder):
    """The whole report, made once."""
    words = ["traces", str(folder / "<i>part.npz"), str(folder / "rest.npy"), "-o", str(folder / "out")]
    words += ["--domains", str(folder / "domains.json"), "--mask", str(folder / "mask.txt"), "--windows", "4"]
    words += ["--against", str(folder / "other.npy"), "--num-experts", str(EXPERTS), "--ranks", "2,8"]
    assert main([*words, "--export", str(folder / "decisions.npz")]) == 0
    return folder / "out"


def test_the_page_has_every_section_and_asks_for_nothing(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    for plan in PLAN:
        assert (f'id="{plan.anchor}"' in page) == (plan.anchor != "weights")
    assert "Table of probabilities and weights by layer: left out, because the files hold neither" in page
    assert page.count("<script") == page.count("<script>//") <= 1  # the page's own
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:|tables/|figures/)', page)
    for name in re.findall(r'href="((?:tables|figures)/[^"]+)"', page):
        assert (report / name).is_file()


def test_the_summary_has_every_figure(report):
    found = json.loads((report / "summary.json").read_text())
    expected = analyse(RoutingTrace(make_selections()[1:], EXPERTS))
    assert found["tokens_per_expert"] == expected.load.tolist()
    assert found["metrics"]["cv"] == expected.measures["cv"].tolist()
    assert set(found["rank_imbalance"]) == {"2", "8"}
    assert (found["num_tokens"], found["tokens_left_out"], found["top_k"]) == (TOKENS - 1, 1, TOP_K)
    assert found["agreement"]["anywhere"] == pytest.approx(4 / (TOKENS - 1))
    assert len(found["domains"]["names"]) == 4
    assert len(found["drift"]["labels"]) == 4
    lines = (report / "load.csv").read_text().splitlines()
    assert lines[0] == "layer,expert,assignments,share"
    assert len(lines) == 1 + LAYERS * EXPERTS


def test_no_text_of_a_table_is_a_formula(report):
    domains = (report / "tables" / "domains.csv").read_text()
    assert "\"'=cmd" in domains or "'=cmd" in domains
    assert not re.search(r'(?:^|,)"?=', domains, re.MULTILINE)


def test_everything_shown_has_a_caption():
    weights = np.full((TOKENS, LAYERS, TOP_K), 0.5)
    trace = RoutingTrace(make_selections(), EXPERTS, weights=weights, logits=np.zeros((TOKENS, LAYERS, EXPERTS)))
    trace = RoutingTrace(**{**vars(trace), "domains": np.array(["a", "b"] * (TOKENS // 2))})
    analysis = analyse(trace, against=trace)
    shown = [each.build(analysis) for plan in PLAN for kind in (table, figure) for each in kind.of(plan.anchor)]
    assert len({each.name for each in shown if hasattr(each, "rows")}) == sum(hasattr(each, "rows") for each in shown)
    assert all(len(each.caption) > 30 and each.title for each in shown)


def test_what_is_exported_is_read_again(report, folder):
    """The rows of the npz are the decisions, and are a trace."""
    trace = read_trace(folder / "decisions.npz")
    assert np.array_equal(trace.experts, make_selections()[1:])
    assert trace.domains.tolist() == [HOSTILE[t % 4] for t in range(1, TOKENS)]
    with np.load(folder / "decisions.npz") as rows:
        assert rows["token"][: LAYERS * TOP_K].tolist() == [1] * (LAYERS * TOP_K)
        assert rows["layer_names"].tolist() == ["0", "1", "2"]


def test_empty_slots_and_weights_are_exported(tmp_path):
    experts, weights = make_selections(4), np.arange(24.0).reshape(4, 3, 2)
    experts[0, 0, 1] = -1
    tokens = Tokens([RoutingTrace(experts, EXPERTS, weights=weights, empty_slots=True, steps=np.arange(4))])
    assert export(tokens, tmp_path / "new" / "d.npz") == 23
    with np.load(tmp_path / "new" / "d.npz") as rows:
        assert rows["expert"].tolist() == experts.ravel()[experts.ravel() >= 0].tolist()
        assert rows["weight"].tolist() == [0.0, *range(2, 24)]
        assert rows["step"].tolist() == [0] * 5 + [1] * 6 + [2] * 6 + [3] * 6
    with pytest.raises(TraceError, match=r"^d\.txt: decisions are exported to \.npz or \.parquet$"):
        check_export(tmp_path / "d.txt")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_without_pyarrow_parquet_is_one_line(folder, capsys):
    words = ["traces", str(folder / "rest.npy"), "-o", str(folder / "none"), "--export", str(folder / "d.parquet")]
    assert main(words) == 2
    assert "d.parquet: Parquet is written by pyarrow, which is not installed" in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_parquet_holds_the_same_rows(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    trace = RoutingTrace(make_selections(), EXPERTS, domains=np.array(["a", "b"] * (TOKENS // 2)))
    assert export(Tokens([trace]), tmp_path / "d.parquet") == TOKENS * LAYERS * TOP_K
    found = read_trace(tmp_path / "d.parquet")
    assert np.array_equal(found.experts, trace.experts)
    assert found.domains.tolist() == trace.domains.tolist()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rest.npy", "--ranks", "3"], "ranks is 3, expected a divisor of the number of experts, 8"),
        (["rest.npy", "--mask", "mask.txt"], "mask.txt: 40 values, expected one for each of 25 tokens"),
        (["rest.npy", "--against", "other.npy"], "other.npy: 40 tokens, expected 25 as in rest.npy"),
        (["rest.npy", "--num-experts", "4"], "expected 0 to 3"),
        (["rest.npy", "--export", "x.csv"], "x.csv: decisions are exported to .npz or .parquet"),
        (["no.npy"], "no.npy: there is no such file"),
        (["."], ": there is no such file"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder, words, line, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(["traces", *words, "-o", "nothing"]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_counts_without_tokens_have_a_page_of_what_they_say(tmp_path, capsys):
    lines = [{"iter": step, "block": "decoder", "layer": 0, "tpe": [[5, 1], [step, 1]]} for step in (1, 9)]
    (tmp_path / "rank0.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert main(["traces", str(tmp_path / "rank0.jsonl"), "-o", str(tmp_path / "out")]) == 0
    assert "From the first to the last of 2 windows 12.5 % of the load moved" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "24 assignments, counted without tokens, 1 layer, 2 experts; from rank0.jsonl." in page
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["tokens_per_expert"] == [[20, 4]]
    assert main(["traces", str(tmp_path / "rank0.jsonl"), "--mask", "x", "-o", str(tmp_path / "none")]) == 2
    assert "rank0.jsonl: --mask is of tokens, and the file has counts without tokens" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [["--ranks", "2,x"], ["--top-k", "0"], ["--windows", "-1"], ["--output=--"]])
def test_options_that_are_none_end_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["traces", "x.npy", *words])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_the_function_needs_numpy_alone():
    code = "import sys, reports.traces; print({'torch', 'pandas', 'matplotlib', 'safetensors'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
