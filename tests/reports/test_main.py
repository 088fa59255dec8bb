import copy
import errno
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.__main__ import main
from tests.reports.conftest import make_document

HOSTILE = ("<script>alert(1)</script>", "a|b", "a_b%&#", "$x^2$ \x1b[31m\n")


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory):
    """The whole report, drawn once: some of our routers and four whose names mean harm."""
    document = make_document(("linear", "attention", "mlp", "hash", "hadamard"))
    for benchmark in list(document["benchmarks"]):
        if benchmark["extra_info"]["router"] == "hadamard":
            for name in HOSTILE:
                twin = copy.deepcopy(benchmark)
                twin["extra_info"]["router"] = name
                document["benchmarks"].append(twin)
    document["study"]["model"]["note"] = "<img src=x onerror=alert(2)>"
    directory = tmp_path_factory.mktemp("hostile")
    file = directory / "run.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert main([str(file), "-o", str(directory / "report")]) == 0
    return directory / "report"


class Elements(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="session")
def page(hostile_report):
    elements = Elements()
    elements.feed((hostile_report / "index.html").read_text(encoding="utf-8"))
    return elements


def test_the_report_is_whole(hostile_report):
    names = {str(path.relative_to(hostile_report)) for path in hostile_report.rglob("*") if path.is_file()}
    figures = {f"figure-{number}-{name}" for number in (4, 5, 6) for name in ("random", "contextual")} | {"latency"}
    assert {f"figures/{figure}.{kind}" for figure in figures for kind in ("svg", "png")} <= names
    tables = {Path(name).stem for name in names if name.startswith("tables/")}
    assert {"summary", "parameters", "random-input", "latency", "supplemental", "experts", "balance"} <= tables
    assert {f"tables/{table}.{kind}" for table in tables for kind in ("md", "csv", "tex")} <= names
    assert {"index.html", "report.md"} <= names


def test_the_page_runs_its_own_script_alone_and_needs_no_network(page):
    assert not [tag for tag, _ in page.tags if tag in ("iframe", "link", "object", "img")]
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    (policy,) = (attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        loaded = [attributes.get(name) for name in ("src", "xlink:href", *(() if tag == "a" else ("href",)))]
        assert all(address.startswith(("#", "data:image/png")) for address in loaded if address)


def test_the_page_shows_hostile_names_as_text(page):
    words = "".join(page.words)
    for name in HOSTILE[:3]:
        assert name in words
    assert "<img src=x onerror=alert(2)>" in words


def test_the_pages_ids_are_unique_and_its_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes.get("href") or "" for tag, attributes in page.tags if tag == "a"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def of(page, tag):
    return [attributes for name, attributes in page.tags if name == tag]


def test_the_page_can_be_read_without_seeing_it(page):
    assert of(page, "html") == [{"lang": "en"}]
    assert (len(of(page, "main")), len(of(page, "h1")), len(of(page, "nav"))) == (1, 1, 1)
    assert of(page, "a")[0] == {"class": "skip", "href": "#answers"}
    tables = len(of(page, "table"))
    assert tables == len(of(page, "caption")) > 20
    assert {attributes["scope"] for attributes in of(page, "th")} == {"col", "row"}
    regions = [each for each in of(page, "div") if each.get("role") == "region"]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(regions) == tables + len(of(page, "figure"))
    assert all(each["tabindex"] == "0" and each["aria-labelledby"] in ids for each in regions)
    described = [each["aria-describedby"] for each in of(page, "table")]
    assert set(described) <= ids
    assert all(each["aria-label"] for each in of(page, "svg") if each.get("role") == "img")


def test_the_page_begins_with_what_a_reader_asks(page):
    words = [word for word in (" ".join(each.split()) for each in page.words) if word]
    first = words.index("Routers measured")
    order = [words.index(each, first) for each in ("Can I trust it?", "Fastest", "New or failed routers", "Verdict")]
    assert order == sorted(order)
    assert words.index("The run in full") > words.index("Figures", order[-1])
    rows = [attributes["href"] for attributes in of(page, "a") if attributes["href"].startswith("#router-")]
    assert "#router-hadamard" in rows


def test_every_table_and_figure_links_to_its_files(page, hostile_report):
    links = {attributes["href"] for attributes in of(page, "a")}
    files = {link for link in links if link.startswith(("tables/", "figures/"))}
    assert all((hostile_report / file).exists() for file in files)
    assert {
        "tables/routers.csv",
        "tables/routers.tex",
        "figures/pareto.svg",
        "#table-routers",
        "#figure-pareto",
    } <= links
    assert len(files) == 2 * (len(of(page, "table")) + len(of(page, "figure")))


def test_the_page_keeps_no_more_of_a_figure_than_is_seen(hostile_report):
    text = (hostile_report / "index.html").read_text(encoding="utf-8")
    assert len(text) < 4e6
    assert "<metadata" not in text
    assert text.count("<style") == 1


def test_the_page_says_what_was_run(page):
    words = " ".join("".join(page.words).split())
    expected = (
        "preset quick",
        "Synthetic CPU",
        "threads 1",
        "Clock host: calls are made eagerly and timed on the host; L2 cache warm.",
        "The GPU before and after: SM clock 1,980 and 1,755 MHz, memory clock 2,619 and 2,619 MHz, "
        "temperature 40 and 71 °C, power 120 and unknown W; slowed down by the power cap.",
        "all-MiniLM-L6-v2",
        "router alone 1.2 to 2.1 %",
        "shakespeare 0.6",
    )
    assert [phrase for phrase in expected if phrase not in words] == []


def test_markdown_and_latex_escape_hostile_names(hostile_report):
    markdown = (hostile_report / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert r"| a\|b |" in markdown
    assert "\x1b" not in markdown
    latex = (hostile_report / "tables" / "summary.tex").read_text(encoding="utf-8")
    assert r"a\_b\%\&\#" in latex
    assert r"\$x\textasciicircum{}2\$" in latex


def test_figures_are_the_same_on_every_run(hostile_report, pristine, save, tmp_path):
    document = copy.deepcopy(pristine)
    document["benchmarks"] = [
        b for b in document["benchmarks"] if b["name"] in ("bench_router[random-mlp]", "bench_token[random-mlp]")
    ]
    outputs = []
    for name in ("first", "second"):
        assert main([str(save(document)), "-o", str(tmp_path / name)]) == 0
        files = sorted((path for path in (tmp_path / name).rglob("*") if path.is_file()), key=lambda path: path.name)
        outputs.append({path.name: path.read_bytes() for path in files})
    assert outputs[0] == outputs[1]


def test_a_subset_leaves_tables_out_with_a_sentence(document, save, tmp_path, capsys):
    document["benchmarks"] = [
        b
        for b in document["benchmarks"]
        if b["extra_info"]["scenario"] == "token" and b["extra_info"]["router"] in ("linear", "mlp")
    ]
    assert main([str(save(document)), "-o", str(tmp_path / "report")]) == 0
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    missing = "the files hold no measurement of scenario “router” on input “supplemental”"
    sentence = f"Supplemental table: left out, because {missing}."
    assert sentence in html
    assert sentence in capsys.readouterr().out
    assert not (tmp_path / "report" / "tables" / "supplemental.csv").exists()
    assert (tmp_path / "report" / "tables" / "costs-token.csv").exists()


FOREIGN = '{"benchmarks": [{"name": "test_x", "extra_info": {}, "stats": {}}], "machine_info": {}}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ('{"benchmarks": [', "cut off"),
        ("hello", "not JSON"),
        ("[]", "not a pytest-benchmark file"),
        (FOREIGN, "not a file of this suite"),
        ('{"benchmarks": [{"extra_info": {}}], "study": {"schema": 3}}', "has no field"),
        ('{"benchmarks": [], "study": {"schema": 7}}', "reads schema 3"),
        ('{"benchmarks": [{"extra_info": {"schema": 1}}], "study": {"schema": 3}}', "has no field 'scenario'"),
        ('{"benchmarks": [NaN], "study": {"schema": 1}}', "NaN"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(content, reason, tmp_path, capsys):
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    before = sorted(tmp_path.rglob("*"))
    assert main([str(file), "-o", str(tmp_path / "report")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert str(file) in line
    assert reason in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def one_router(document, save):
    """A file that is quick to report on."""
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["scenario"] == "token"][:1]
    return save(document)


def test_a_full_disk_is_one_line(one_router, tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reports.page.write.os.fsync", full)
    assert main([str(one_router), "-o", str(tmp_path / "report")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert not (tmp_path / "report").exists()


def test_an_output_that_is_a_file_is_one_line(one_router, capsys):
    assert main([str(one_router), "-o", str(one_router)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot write here" in line


def test_an_interrupt_is_one_line(one_router, tmp_path, capsys, monkeypatch):
    def interrupt(data):
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.page.sections.build_sections", interrupt)
    assert main([str(one_router), "-o", str(tmp_path / "report")]) == 130
    assert capsys.readouterr().err == "reports: interrupted, nothing written\n"


def unseen(document):
    """Names with marks that cannot be seen or turn the text round, and in numbers all that drawing warns of."""
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        if info["router"] == "mlp":
            info["router"] = "=1+1\x00\u202e\u2066" + "x" * 100
        for histogram in info.get("figures", {}).get("output_histogram", {}).values():
            histogram |= {"edges": [0.0] * 81} if info["router"] == "linear" else {"counts": [0] * 80}
        if info["router"] == "attention":
            info["timing"]["ratio"] |= {"low": 1e-95, "high": 1e95}


def test_marks_reach_no_file_and_warnings_no_user(document, save, tmp_path):
    wanted = ("linear", "attention", "mlp")
    names = [f"bench_router[random-{router}]" for router in wanted]
    document["benchmarks"] = [b for b in document["benchmarks"] if b["name"] in names]
    unseen(document)
    command = [sys.executable, "-m", "reports", str(save(document)), "-o", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "report").rglob("*.[!p]*") if path.is_file()]
    assert len(texts) > 10
    assert not [text for text in texts if {"\x00", "\u202e", "\u2066"} & set(text)]
    summary = (tmp_path / "report" / "tables" / "summary.csv").read_text(encoding="utf-8")
    assert "random,'=1+1" in summary


def test_a_files_name_need_not_be_unicode(document, tmp_path):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["scenario"] == "token"][:1]
    path = tmp_path / os.fsdecode(b"run-\xff.json")
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main([str(path), "-o", str(tmp_path / "report")]) == 0
    assert "run-\ufffd.json" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("\ud800", "benchmarks[0].extra_info.router holds half a character, '\\ud800'"),
        ("x" * 1_000_000, "benchmarks[0].extra_info.router has more than 20000 characters: 'xxx"),
        ("x" * 201, "benchmarks[0].extra_info.router has more than 200 characters: 'xxx"),
        (10**400, "benchmarks[0].extra_info.router is a number beyond ±1e+100: 1000"),
        (1e300, "benchmarks[0].extra_info.router is a number beyond ±1e+100: 1e+300"),
        ({"\ud800": 1}, "benchmarks[0].extra_info.router has a key that holds half a character"),
        ({"x" * 1_000_000: 1}, "benchmarks[0].extra_info.router has a key that has more than 20000 characters"),
    ],
)
def test_a_value_out_of_all_bounds_is_one_short_line(document, save, capsys, value, reason):
    document["benchmarks"][0]["extra_info"]["router"] = value
    assert main([str(save(document))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert len(line) < 1000


def test_nesting_has_a_bound_wherever_it_is(document, save, capsys):
    deep = 1
    for _ in range(60):
        deep = [deep]
    document["study"]["preset"]["new"] = deep
    assert main([str(save(document))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "study.preset.new[0][0]" in line
    assert line.endswith("is nested more than 50 deep")


def test_a_file_of_any_length_is_not_read(tmp_path, capsys):
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(10**9)
    assert main([str(tmp_path / "run.json")]) == 2
    assert capsys.readouterr().err.endswith("run.json: has more than 100 MB\n")


def test_reports_needs_neither_torch_nor_the_suite():
    code = (
        "import sys, reports.__main__; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'torch', 'transformers', 'routers', 'harness', 'bench', 'pytest'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_reader_that_stops_early_sees_no_traceback(one_router, tmp_path):
    command = f"'{sys.executable}' -m reports '{one_router}' -o '{tmp_path / 'report'}' | true"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert (tmp_path / "report" / "index.html").exists()


def test_a_full_terminal_is_one_line():
    code = "import sys, reports.__main__ as m; sys.exit(m._say('words'))"
    result = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -c \"{code}\" > /dev/full"], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (2, "reports: cannot print: No space left on device\n")


def test_a_file_that_is_nested_too_deeply_is_one_line(capsys, monkeypatch):
    def recurse(paths):
        raise RecursionError

    monkeypatch.setattr("reports.commands.report.load_report_data", recurse)
    assert main(["run.json"]) == 2
    assert capsys.readouterr().err == "reports: a file is nested too deeply\n"


def test_help_and_a_missing_argument(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = capsys.readouterr().out
    assert all(f"python -m reports {command} " in words for command in ("gate", "compare", "operating"))
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
