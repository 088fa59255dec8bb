"""The one page: everything in a single file that opens without a network."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.judging import paper
from reports.page import definitions
from reports.page.run_summary import findings, input_sources, provenance, statement
from reports.page.sections import Section
from reports.records.report_data import ReportData

_VERDICT_CLASSES = {
    "reproduced": "good",
    "holds": "good",
    "agrees": "good",
    "helps": "good",
    "approximate": "fair",
    "unclear": "fair",
    "not derivable": "poor",
    "does not hold": "poor",
    "harms": "poor",
}
# Up to so many characters stay in one line, in a wide table too.
_BRIEF = 24


def render_page(study: ReportData, sections: list[Section], svgs: Mapping[str, bytes]) -> str:
    """The page as HTML; `svgs` holds the drawn figures by name."""
    environment = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(
        statement=statement(study),
        findings=findings(sections),
        sections=sections,
        inline_svg=lambda plot: inline_svg(svgs[plot.name], plot.name, plot.title),
        word_class=lambda cell: _VERDICT_CLASSES.get(cell, "brief" if len(cell) <= _BRIEF else ""),
        definitions=definitions.defined(study),
        method=definitions.METHOD,
        sources=definitions.SOURCES,
        inputs=input_sources(study),
        provenance=provenance(study),
        paper=paper,
    )


def inline_svg(svg: bytes, name: str, title: str) -> Markup:
    """matplotlib's SVG without its XML head, its ids made unique on a page that holds several.

    It is safe as markup: matplotlib escapes all text that it writes.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    # An image's id is a hash of its pixels, and no one refers to it: two equal panels would share it.
    text = re.sub(r' id="image[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    opening = f'<svg role="img" aria-label="{escape(title)}" '
    return Markup(opening + text.removeprefix("<svg "))
