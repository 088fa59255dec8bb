"""Light and dark: the page and its figures follow the reader's choice."""

from __future__ import annotations

import re

from tests.browser.conftest import OpenPage
from tests.browser.page import THEMES


def luminance(colour: str) -> float:
    """Of CSS's rgb(...), from 0 to 1, roughly."""
    red, green, blue = (float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_dark_page_has_light_words_and_a_light_page_dark_ones(open_page: OpenPage) -> None:
    page = open_page("whole")
    seen = {}
    for theme in THEMES:
        page.tab.emulate_media(color_scheme=theme)
        seen[theme] = [luminance(page.style("body", name)) for name in ("backgroundColor", "color")]
    assert seen["light"][0] > 0.9 > 0.3 > seen["light"][1]
    assert seen["dark"][0] < 0.1 < 0.6 < seen["dark"][1]


def test_words_in_figures_are_told_from_what_is_behind_them(open_page: OpenPage) -> None:
    page = open_page("whole")
    page.unfold()
    for theme in THEMES:
        page.tab.emulate_media(color_scheme=theme)
        dark = theme == "dark"
        words = [luminance(colour) for colour in page.tab.locator("figure svg text").evaluate_all(_FILLS)]
        assert words
        plain = sorted(words)[len(words) // 2]
        assert plain > 0.6 if dark else plain < 0.4


_FILLS = "words => words.map(one => getComputedStyle(one).fill).filter(fill => fill.startsWith('rgb'))"
