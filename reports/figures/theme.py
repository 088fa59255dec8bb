"""The colours of all figures by name, for a light page and for a dark one.

A file of its own, an SVG or a PNG, is light. Inside the page a figure follows the page: each colour of the palette is a
CSS custom property there, with the colour of the file as what is taken where nobody has set it.
"""

from __future__ import annotations

import re

PAPER, INK, QUIET, FAINT, BAND, GRID = "#ffffff", "#222222", "#595959", "#767676", "#cccccc", "#e6e6e6"
"""The ground; text and axes; what this run has not measured; thin lines; areas of noise; lines to read by.

Thin lines stand out from the ground as WCAG asks of figures (3 to 1), light or dark; so do points from areas of noise.
"""

# Okabe and Ito's colours, told apart with every common colour blindness.
OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
PIXELS = tuple(f"#{int(colour[1:], 16) ^ 1:06x}" for colour in OKABE_ITO)
"""The same for what is rasterised and its legend: other by one part in 255, and so of no theme, as pixels are."""

_LIGHT = {
    "paper": PAPER,
    "ink": INK,
    "quiet": QUIET,
    "faint": FAINT,
    "band": BAND,
    "grid": GRID,
    **{f"series-{place}": colour for place, colour in enumerate(OKABE_ITO, start=1)},
}
_DARK = _LIGHT | {
    "paper": "#1a1e22",
    "ink": "#e4e7ea",
    "quiet": "#b4bcc4",
    "faint": "#8b949d",
    "band": "#434d57",
    "grid": "#343b42",
    # The others show on both grounds. The first blue is too dark for this one, and the second, of areas and thin lines,
    # would be as light as the points and the thick lines on it.
    "series-1": "#4aa3e0",
    "series-5": "#3579ab",
}
_PROPERTIES = {colour: f"var(--figure-{name}, {colour})" for name, colour in _LIGHT.items()}
# Text cannot be mistaken for a tag: what is written between tags has its signs of "less" and "greater" escaped.
_TAG = re.compile(r"<[A-Za-z][^<>]*>")
_STYLE = re.compile(r'(?<= style=")[^"]*')
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")


def _declared(colours: dict[str, str]) -> str:
    return " ".join(f"--figure-{name}: {colour};" for name, colour in colours.items())


THEME_CSS = f"""\
:root {{ {_declared(_LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {_declared(_DARK)} }} }}
@media screen {{ :root[data-theme="dark"] {{ {_declared(_DARK)} }} }}
"""
"""Sets the properties: light, and dark where the reader's system or `data-theme` asks for it; on paper light always."""


def with_variables(svg: str) -> str:
    """The same SVG with the palette's colours as CSS custom properties; other colours stay as they are."""

    def renamed(style: re.Match[str]) -> str:
        return _COLOUR.sub(lambda colour: _PROPERTIES.get(colour.group(0), colour.group(0)), style.group(0))

    return _TAG.sub(lambda tag: _STYLE.sub(renamed, tag.group(0)), svg)
