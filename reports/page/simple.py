"""A page of sections for the commands that are no report: tables, drawings and sentences, in one offline file.

`simple_files` makes every file of such a page, `simple_page` the page alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup, escape

from reports.format.escape import one_line
from reports.format.render import to_csv, to_latex, to_markdown
from reports.format.table import Table
from reports.page.html import environment, inline_svg

if TYPE_CHECKING:
    # matplotlib takes seconds, and a page of hand-made drawings does without it.
    from reports.format.plot import Plot


@dataclass(frozen=True)
class Drawing:
    """A figure that is SVG already; its colours may be the page's variables, such as `var(--ink)`.

    Attributes:
        name: of its file, and the beginning of its ids on the page.
        title: the heading above it, and what is read aloud in place of it.
        caption: what is to be seen.
        svg: an element `<svg>`, whose texts are escaped; or matplotlib's, then with its picture.
        png: the same as a picture, where matplotlib drew it.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes | None = None

    @property
    def markup(self) -> Markup:
        """The element with its title for those who do not see it; matplotlib's in the page's colours."""
        if self.png is not None:
            return inline_svg(self.svg.encode(), self.name, self.title)
        return _labelled(self.svg, self.title)

    @property
    def files(self) -> list[tuple[str, str]]:
        """Its files, and what each of them is."""
        kinds = [("SVG", "svg"), *([("PNG", "png")] if self.png else [])]
        return [(kind, f"figures/{quote(self.name)}.{ending}") for kind, ending in kinds]


@dataclass(frozen=True)
class Panel:
    """One of many small drawings, which share a caption: `svg` is as in `Drawing`, the words stand above it."""

    title: str
    note: str
    svg: str

    @property
    def markup(self) -> Markup:
        """The element with its words for those who do not see it."""
        return _labelled(self.svg, f"{self.title}: {self.note}")


@dataclass(frozen=True)
class Gallery:
    """Small drawings side by side, as many in a row as there is room for."""

    title: str
    caption: str
    panels: tuple[Panel, ...]


Item = Table | Drawing | Gallery
# The template's block that shows each kind.
_BLOCKS: dict[type[Item], str] = {Table: "table", Drawing: "drawing", Gallery: "gallery"}


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        anchor: its id, by which it is linked.
        title: the heading.
        intro: a sentence below it.
        items: tables, drawings and galleries, in the order of reading.
        sentences: what is said below them, such as what is left out and why.
        folded: only its heading is seen until it is opened.
    """

    anchor: str
    title: str
    intro: str = ""
    items: tuple[Item, ...] = ()
    sentences: tuple[str, ...] = ()
    folded: bool = False

    @property
    def blocks(self) -> Iterator[tuple[str, Item]]:
        """Each item with the name of the template's block that shows it."""
        return ((_BLOCKS[type(item)], item) for item in self.items)


def simple_page(
    title: str, lead: Sequence[str], sections: Sequence[Section], *, classes: Mapping[str, str] | None = None
) -> str:
    """The page as HTML.

    Args:
        title: of the page, and its first heading.
        lead: the sentences below it, the most important first.
        sections: in the order of reading.
        classes: words of a cell -> `good`, `fair` or `poor`, the colour in which they stand.
    """
    rooms = environment(classes or {})
    own, _, _ = rooms.loader.get_source(rooms, "simple.css") if rooms.loader else ("", None, None)
    return rooms.get_template("simple.html.j2").render(title=title, lead=lead, sections=sections, own_style=Markup(own))


def simple_files(
    title: str, lead: Sequence[str], sections: Sequence[Section], *, classes: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """Every file of the page by its relative name: tables as CSV, TeX and Markdown, drawings, and the page last."""
    files: dict[str, bytes] = {}
    for item in (item for section in sections for item in section.items):
        if isinstance(item, Table):
            for ending, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
                files[f"tables/{item.name}.{ending}"] = render(item).encode()
        elif isinstance(item, Drawing):
            files[f"figures/{item.name}.svg"] = (item.svg if item.png else _alone(item.svg)).encode()
            files |= {f"figures/{item.name}.png": item.png} if item.png else {}
    return files | {"index.html": simple_page(title, lead, sections, classes=classes).encode()}


def drawn(plot: Plot) -> Drawing:
    """A figure of matplotlib's as a drawing, its ids made unique on a page that holds several."""
    from reports.figures.style import report_style, save

    with report_style():
        figure = plot.draw()
        svg, png = save(figure, "svg"), save(figure, "png")
    return Drawing(plot.name, plot.title, plot.caption, svg.decode(), png)


def _labelled(svg: str, label: str) -> Markup:
    """It is safe as markup: whoever made it has escaped its texts."""
    return Markup(f'<svg role="img" aria-label="{escape(one_line(label))}" ') + Markup(svg.removeprefix("<svg "))


# What the page's variables are in a file of its own, which has no style sheet but this.
_ALONE = (
    "<style>svg { --ink: #1c2024; --paper: #ffffff; --soft: #f3f5f7; --line: #d5dade; --quiet: #59636e; "
    "--link: #0b62a8; --good: #0a6b4b; --fair: #8a5a00; --poor: #a03414; "
    "background: #ffffff; font-family: sans-serif }</style>"
)


def _alone(svg: str) -> str:
    """The element as a file."""
    head, opening, rest = svg.partition("<svg ")
    attributes, end, body = rest.partition(">")
    space = "" if "xmlns=" in attributes else 'xmlns="http://www.w3.org/2000/svg" '
    return f"{head}{opening}{space}{attributes}{end}{_ALONE}{body}\n"
