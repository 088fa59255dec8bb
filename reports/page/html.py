"""The one page that opens without a network: templates, style and script put into one file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.figures.theme import THEME_CSS, with_variables
from reports.format.escape import one_line, shorten
from reports.format.plot import Plot
from reports.format.table import Table
from reports.overview.headline import LONGEST_NAME
from reports.overview.overview import Overview
from reports.page import definitions
from reports.page.run_summary import input_sources, provenance, statement
from reports.page.sections import Section
from reports.records.report_data import ReportData

_VERDICT_CLASSES = {
    "reproduced": "good",
    "holds": "good",
    "agrees": "good",
    "helps": "good",
    "approximate": "fair",
    "unclear": "fair",
    "does not hold": "poor",
    "harms": "poor",
}
_RIGHT_TO_LEFT = re.compile(
    r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+(?:\s+[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+)*"
)
_UNCERTAINTY = re.compile(r"\[[^\[\]]*\]|± \S+(?: %)?")
# Coordinates as matplotlib writes them: to a millionth of a point, of which a hundredth is seen.
_COORDINATES = re.compile(r'(?<= )(?:d|x|y|x1|y1|x2|y2|cx|cy|points)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")
# Up to so many characters stay in one line, in a wide table too.
_BRIEF = 24


def page(data: ReportData, overview: Overview, sections: Sequence[Section], files: Mapping[str, bytes]) -> str:
    """The page as HTML; `files` holds the drawn figures."""
    rooms = environment(_VERDICT_CLASSES)
    rooms.globals["inline_svg"] = lambda plot: inline_svg(files[f"figures/{plot.name}.svg"], plot.name, plot.title)
    return rooms.get_template("index.html.j2").render(
        overview=overview,
        sections=sections,
        anchors={section.anchor for section in sections},
        statement=statement(data),
        definitions=definitions.defined(data),
        method=definitions.METHOD,
        sources=definitions.SOURCES,
        inputs=input_sources(data),
        provenance=provenance(data),
    )


_IN_NUMBERS = re.compile(r"(?<=\d) (?=[%±\[])|(?<=±) (?=\d)|(?<=\d,) (?=[\d.]+\])")
"""Spaces before a unit, around a deviation, and before and in an interval."""


def environment(classes: Mapping[str, str]) -> Environment:
    """What the templates share: escaping, filters, how a table is shown, the pages' style and script.

    Args:
        classes: words of a cell -> the class that they get.
    """
    made = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    made.filters |= {"anchor": _anchor, "shorten": shorten, "isolated": _isolated}
    made.filters |= {"breakable": _breakable, "unbroken": _unbroken, "kept": _kept}
    # Neither is a template: both are written as they are.
    style, script = (Markup(_source(made, name)) for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals |= {
        "table_files": _table_files,
        "plot_files": _plot_files,
        "word_class": lambda cell: classes.get(cell, "brief" if len(cell) <= _BRIEF else "long"),
        "longest_name": LONGEST_NAME,
        "style": Markup(THEME_CSS) + style,
        "script": script,
        "script_hash": f"sha256-{digest}",
    }
    return made


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _anchor(name: str) -> str:
    """A name as an id may hold it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def _isolated(text: str) -> Markup:
    """A sentence on a page.

    Words in scripts from right to left turn nothing round but themselves, and a number keeps its unit and interval.
    """
    whole = _IN_NUMBERS.sub("\u00a0", one_line(text))
    return Markup(_RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", str(escape(whole))))


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break after its underscores."""
    return Markup("_<wbr>").join(one_line(name).split("_"))


def _unbroken(heading: str) -> Markup:
    """A heading that breaks at no equals sign."""
    return Markup("&#160;=&#160;").join(one_line(heading).split(" = "))


def _kept(number: str) -> Markup:
    """A number with its interval or deviation, which a narrow column does not break."""
    return Markup(_UNCERTAINTY.sub(r'<span class="kept">\g<0></span>', str(escape(one_line(number)))))


def _table_files(table: Table) -> list[tuple[str, str]]:
    return [(kind, f"tables/{quote(table.name)}.{ending}") for kind, ending in (("CSV", "csv"), ("TeX", "tex"))]


def _plot_files(plot: Plot) -> list[tuple[str, str]]:
    return [(kind, f"figures/{quote(plot.name)}.{ending}") for kind, ending in (("SVG", "svg"), ("PNG", "png"))]


def inline_svg(svg: bytes, name: str, title: str) -> Markup:
    """matplotlib's SVG without its XML head and metadata, its ids made unique on a page that holds several.

    Its style element would apply to the whole page, which has the same in its own style. It is safe as markup:
    matplotlib escapes all text that it writes.
    """
    text = svg.decode("utf-8")
    text = with_variables(text[text.index("<svg") :])
    text = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style\b.*?</style>", "", text, flags=re.DOTALL)
    # An image's id is a hash of its pixels, and no one refers to it: two equal panels would share it.
    text = re.sub(r' id="image[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{_anchor(name)}-", text)
    text = _COORDINATES.sub(lambda found: " ".join(_DIGITS.sub(r"\1", found.group(0)).split()), text)
    opening = f'<svg role="img" aria-label="{escape(one_line(title))}" '
    return Markup(opening + text.removeprefix("<svg "))
