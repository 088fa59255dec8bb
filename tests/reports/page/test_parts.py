import copy

import pytest

from reports.__main__ import main
from reports.loading.load import load_report_data
from reports.page.parts import notices
from reports.page.sections import build_sections


def only(document, *routers, scenarios=("router", "token", "training"), inputs=("random", "contextual")):
    """A copy with some of the benchmarks."""
    chosen = copy.deepcopy(document)
    chosen["benchmarks"] = [
        b
        for b in chosen["benchmarks"]
        if b["extra_info"]["router"] in routers
        and b["extra_info"]["scenario"] in scenarios
        and b["extra_info"]["input"] in inputs
    ]
    return chosen


def tables_of(data):
    return {table.name: table for section in build_sections(data) for table in section.tables}


def words_of(data):
    """All that the sections say."""
    found = []
    for section in build_sections(data):
        for shown in (*section.tables, *section.plots):
            found += [shown.title, shown.caption]
        found += section.findings
    return " ".join(found)


def test_one_machine_is_one_part_in_several_files_too(document, save):
    whole = tables_of(load_report_data([save(document)]))
    files = [save(only(document, "linear"), "a.json"), save(only(document, "mlp", "hash"), "b.json")]
    data = load_report_data(files)
    assert notices(data) == []
    assert list(tables_of(data)["summary"].frame["router"]) == ["linear", "mlp", "hash"]
    assert not [name for name in whole if name.endswith(("-a", "-b"))]


def test_times_of_two_clock_modes_stand_apart(document, save):
    other = only(document, "mlp", "hash")
    other["study"]["clock"] |= {"mode": "compile+host"}
    for benchmark in other["benchmarks"]:
        benchmark["extra_info"]["timing"]["clock_mode"] = "compile+host"
    data = load_report_data([save(only(document, "linear", "mlp"), "a.json"), save(other, "b.json")])
    tables = tables_of(data)
    assert list(tables["summary-a"].frame["router"]) == ["linear", "mlp"]
    assert "clock host, l2 warm" in tables["summary-a"].caption
    assert "clock compile+host, l2 warm" in tables["summary-b"].caption
    assert tables["summary-b"].title == "The router alone on random input, setting B"


def test_times_of_two_machines_stand_apart_and_what_is_no_time_stands_together(document, save):
    other = only(document, "mlp", "hash")
    other["machine_info"]["cpu"] |= {"brand_raw": "Another CPU", "count": 64}
    data = load_report_data([save(only(document, "linear", "mlp"), "a.json"), save(other, "b.json")])
    tables = tables_of(data)
    timed = {"noise", "summary", "latency", "costs-router", "costs-token", "costs-training"}
    assert {name for name in tables if name.endswith(("-a", "-b"))} == {
        f"{n}-{letter}" for n in timed for letter in "ab"
    }
    assert not timed & tables.keys()
    assert list(tables["summary-a"].frame["router"]) == ["linear", "mlp"]
    assert list(tables["summary-b"].frame["router"]) == ["mlp", "hash"]
    assert tables["summary-b"].title == "The router alone on random input, machine B"
    assert "Machine B: Another CPU, 64 CPUs, device cpu, threads 1" in tables["summary-b"].caption
    assert tables["summary-a"].findings[0].startswith("Machine A: Fastest on random input of the routers")
    assert list(tables["balance"].frame["router"]) == ["linear", "mlp", "hash"]
    assert {plot.name for section in build_sections(data) for plot in section.plots} >= {"latency-a", "latency-b"}
    (notice,) = notices(data)
    assert notice.startswith(
        "Times of 2 machines or settings, which do not compare, stand apart: machine A is Synthetic"
    )
    assert notice.endswith("They differ in cpu.brand_raw and cpu.count.")


@pytest.mark.parametrize(("field", "value"), [("threads", 2), ("device", "cuda"), ("dtype", "bfloat16")])
def test_times_of_two_settings_stand_apart(document, save, field, value):
    other = only(document, "mlp")
    for stated in (other["study"], *(benchmark["extra_info"] for benchmark in other["benchmarks"])):
        stated[field] = value
    data = load_report_data([save(only(document, "linear"), "a.json"), save(other, "b.json")])
    assert tables_of(data)["summary-b"].title == "The router alone on random input, setting B"
    assert notices(data)[0].endswith(f"They differ in setting.{field}.")


def test_machines_of_different_subjects_are_not_split(document, language_document, save):
    language_document["machine_info"]["cpu"]["brand_raw"] = "Another CPU"
    data = load_report_data([save(document, "a.json"), save(language_document, "b.json")])
    assert notices(data) == []
    assert {"summary", "language-model"} <= tables_of(data).keys()


def test_times_inside_a_language_model_stand_apart(language_document, save):
    first = save(language_document, "a.json")
    language_document["machine_info"]["cpu"]["brand_raw"] = "Another CPU"
    data = load_report_data([first, save(language_document, "b.json")])
    assert {"language-model-a", "language-model-b", "language-model-decode-a"} <= tables_of(data).keys()
    assert data.remarks == ()


def test_the_terminal_says_that_times_stand_apart(document, save, tmp_path, capsys):
    first = only(document, "linear", "mlp", scenarios=("router",), inputs=("random",))
    other = only(document, "linear", "hash", scenarios=("router",), inputs=("random",))
    other["machine_info"]["cpu"]["brand_raw"] = "Another \x1b[31mCPU\n"
    files = [str(save(first, "a.json")), str(save(other, "b.json"))]
    assert main([*files, "-o", str(tmp_path / "report")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("The router alone on random input, machine A\nRouter")
    assert "\nThe router alone on random input, machine B\nRouter" in said
    assert "Times of 2 machines or settings, which do not compare, stand apart" in said
    assert "\x1b" not in said
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Times of 2 machines or settings" in page
    assert (tmp_path / "report" / "tables" / "summary-b.csv").exists()


WINNERS = ("Fastest", "cheapest", "most expensive", "increase for")


def test_an_incomplete_run_is_marked_and_names_no_winner(document, language_document, save):
    document["benchmarks"] += language_document["benchmarks"]
    document["study"]["language_model"] = language_document["study"]["language_model"]
    data = load_report_data([save(document)])
    assert all(word in words_of(data) for word in WINNERS)
    document["study"]["planned"] = len(document["benchmarks"]) + 1
    data = load_report_data([save(document)])
    words = words_of(data)
    assert not [word for word in WINNERS if word in words]
    assert "Nobody is named the fastest on random input:" in words
    assert all(table.title.endswith(" (incomplete run)") for table in tables_of(data).values())
    (notice,) = notices(data)
    number = len(document["benchmarks"])
    assert f"is incomplete: it holds {number} of the {number + 1} benchmarks of its run" in notice


def test_an_incomplete_run_says_so_in_the_terminal(document, save, tmp_path, capsys):
    part = only(document, "linear", "mlp", scenarios=("token",))
    part["study"]["planned"] = 148
    assert main([str(save(part)), "-o", str(tmp_path / "report")]) == 0
    assert "is incomplete: it holds 4 of the 148 benchmarks of its run." in capsys.readouterr().out


VERDICTS = (
    "reproduced",
    "approximate",
    "not derivable",
    "holds",
    "does not hold",
    "unclear",
    "agrees",
    "slower",
    "faster",
)


@pytest.mark.parametrize("preset", [{"name": "smoke"}, {"name": "mine", "conclusive": False}])
def test_a_run_that_proves_nothing_has_no_verdicts(document, language_document, tuning, save, tmp_path, preset):
    document["benchmarks"] += language_document["benchmarks"]
    document["study"] |= {"language_model": language_document["study"]["language_model"], "preset": preset}
    files = [save(document), save(tuning, "tuned.json")]
    data = load_report_data(files)
    for section in build_sections(data):
        for table in section.tables:
            if section.anchor == "fine-tuning":
                assert table.findings or table.name == "fine-tuning-expert-load"
                continue
            assert table.findings == ()
            assert table.title.endswith(f" ({preset['name']} run)")
            assert not [cell for cells in table.shown() for cell in cells if cell in VERDICTS]
            assert not [column for column in table.frame if "verdict" in column or column in ("order", "standing")]
    assert f"is a {preset['name']} run. Such a run proves that the parts work: its numbers mean" in notices(data)[0]
