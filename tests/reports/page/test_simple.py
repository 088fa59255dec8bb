"""The page of the commands that are no report."""

from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from reports.format.numbers import significant
from reports.format.plot import Plot
from reports.format.table import Column, Table, text_column, verdict_column
from reports.page.simple import Drawing, Section, drawn, simple_files, simple_page

EVIL = '<b onclick="x">&\u202e\x1b[31m\n=cmd' + "x" * 200


class Seen(HTMLParser):
    """What a browser would meet: tags with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.ids = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]


def table(name="times", word="same"):
    rows = [{"router": "linear", "us": 1.5, "verdict": word}, {"router": EVIL, "us": None, "verdict": word}]
    columns = (
        text_column("Router", "router"),
        Column("µs", ("us",), significant),
        verdict_column("Verdict", "verdict"),
    )
    return Table(name, f"Times {EVIL}", "What is to be seen.", rows, columns)


def plot():
    def draw():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2])
        return figure

    return Plot("line", "A line", "It rises.", draw)


@pytest.fixture(scope="module")
def files():
    by_hand = Drawing("hand", f"By hand {EVIL}", "Made by hand.", '<svg viewBox="0 0 1 1"><g/></svg>')
    sections = [
        Section("first", "First", "An introduction.", (table(), drawn(plot()), by_hand), ("A remark.",)),
        Section("second", "Second", items=(table("more"),), folded=True),
    ]
    return simple_files(f"A page {EVIL}", ["The answer.", EVIL], sections, classes={"same": "good"})


def test_the_page_comes_last_and_each_table_and_drawing_has_files(files):
    assert list(files)[-1] == "index.html"
    assert {f"tables/{name}.{kind}" for name in ("times", "more") for kind in ("csv", "md", "tex")} < files.keys()
    assert {"figures/line.svg", "figures/line.png", "figures/hand.svg"} < files.keys()
    assert files["figures/hand.svg"].startswith(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><style>')


def test_the_page_asks_for_nothing_and_holds_no_name_as_markup(files):
    seen = Seen(files["index.html"].decode())
    assert not [attrs for _, attrs in seen.tags if "onclick" in attrs or "src" in attrs]
    # The page's own script is its only one, and its policy lets no other run.
    assert [(tag, attrs) for tag, attrs in seen.tags if tag in ("script", "link", "img", "b")] == [("script", {})]
    (policy,) = [attrs["content"] for _, attrs in seen.tags if attrs.get("http-equiv")]
    assert "default-src 'none'" in policy
    assert "\x1b" not in files["index.html"].decode()
    assert "\u202e" not in files["index.html"].decode()


def test_ids_are_unique_and_every_link_on_the_page_has_its_target(files):
    seen = Seen(files["index.html"].decode())
    assert len(set(seen.ids)) == len(seen.ids)
    links = [attrs["href"] for tag, attrs in seen.tags if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(seen.ids)
    assert {link for link in links if not link.startswith("#")} <= files.keys()


def test_a_table_has_heads_of_columns_and_rows_and_a_word_its_colour(files):
    seen = Seen(files["index.html"].decode())
    scopes = [attrs.get("scope") for tag, attrs in seen.tags if tag == "th"]
    assert scopes.count("col") == 6
    assert scopes.count("row") == 4
    assert [attrs.get("class") for tag, attrs in seen.tags if tag == "td"].count("good") == 4


def test_a_folded_section_is_closed(files):
    seen = Seen(files["index.html"].decode())
    assert [attrs for tag, attrs in seen.tags if tag == "details"] == [{"class": "section", "id": "second"}]


def test_a_page_of_one_section_has_what_the_script_looks_for():
    page = simple_page("A page", ["The answer."], [Section("only", "Only")])
    assert 'id="expand"' in page
    assert '<a href="#only">Only</a>' in page
