"""Pictures of every page at every width in both themes, for eyes: `tox run -e browser -- --screenshots DIR`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import OpenPage
from tests.browser.page import THEMES, WIDTHS
from tests.browser.sites import SITES

TALLEST = 4000
"""Pixels of a picture: a page is cut into several, since what is taller cannot be looked at."""


@pytest.mark.parametrize("site", SITES)
def test_pictures(site: str, open_page: OpenPage, request: pytest.FixtureRequest) -> None:
    folder: Path | None = request.config.getoption("--screenshots", None)
    if folder is None:
        pytest.skip("pictures are taken with --screenshots DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for theme in THEMES:
            page = open_page(site, width, theme)
            page.tab.screenshot(path=folder / f"{site}-{width}-{theme}-first.png")
            page.unfold()
            height = page.tab.evaluate("document.documentElement.scrollHeight")
            for number, top in enumerate(range(0, height, TALLEST)):
                clip = {"x": 0, "y": top, "width": width, "height": min(TALLEST, height - top)}
                picture = folder / f"{site}-{width}-{theme}-{number:02}.png"
                page.tab.screenshot(path=picture, full_page=True, clip=clip)
    page.tab.emulate_media(media="print")
    page.tab.pdf(path=folder / f"{site}.pdf", format="A4")
