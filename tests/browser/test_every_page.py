"""What holds for every page, whatever it shows: widths, themes, accessibility, links, print, valid markup."""

from __future__ import annotations

import pytest

from tests.browser import axe, checker
from tests.browser.conftest import OpenPage
from tests.browser.page import THEMES, WIDTHS
from tests.browser.sites import SITES

LARGEST = 4 * 2**20
"""Bytes of a page."""

every_page = pytest.mark.parametrize("site", SITES)
every_page_of_ours = pytest.mark.parametrize("site", [name for name, site in SITES.items() if not site.built])


@every_page
def test_it_opens_from_a_file_without_a_complaint_or_a_request(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    assert page.tab.title()
    assert page.tab.locator("h1").count() == 1
    assert page.tab.locator("main").count() == 1


@every_page
def test_it_is_no_larger_than_a_mail_takes(site: str, build) -> None:
    assert build(site).stat().st_size < LARGEST


@every_page
def test_it_does_not_scroll_sideways(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    page.unfold()
    for width in WIDTHS:
        page.resize(width)
        assert page.scrolls_sideways() == []


@every_page
def test_axe_finds_nothing_serious_at_any_width_in_both_themes(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    page.unfold()
    found = []
    for width in WIDTHS:
        page.resize(width)
        page.settle()
        # All rules look at the light page; of them colours alone differ in the dark one.
        for theme, rules in zip(THEMES, ((), ("color-contrast",)), strict=True):
            page.tab.emulate_media(color_scheme=theme)
            found += [f"{width} px, {theme}: {finding}" for finding in axe.findings(page.tab, *rules)]
    assert found == []


@every_page
def test_a_link_to_a_place_shows_it_below_the_bar(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    assert page.tab.evaluate(_MISSED_PLACES) == []


PRINTED = "main table, main figure, main figcaption, main dl, main li, main h3"


@every_page_of_ours
def test_without_scripts_everything_is_there_on_the_screen_and_on_paper(site: str, open_page: OpenPage) -> None:
    page = open_page(site, java_script_enabled=False)
    # On paper folded sections are open, with where the numbers come from, by styles alone: scripts would open them too.
    page.tab.emulate_media(media="print")
    assert page.hidden(PRINTED) == []
    page.tab.emulate_media(media="screen")
    page.unfold()
    assert page.hidden("main table, main figure, main tbody tr") == []


def test_the_markup_is_valid(build) -> None:
    if reason := checker.missing():
        pytest.skip(reason)
    found = checker.errors([build(name) for name, site in SITES.items() if not site.built])
    assert {page.parent.parent.name: errors[:5] for page, errors in found.items() if errors} == {}


_MISSED_PLACES = """async () => {
  const missed = [];
  const links = [...document.querySelectorAll('a[href^="#"]')];
  for (const address of new Set(links.map(link => link.getAttribute('href')))) {
    const place = document.getElementById(decodeURIComponent(address.slice(1)));
    if (address === '#' || !place) { missed.push(`${address} is nowhere`); continue; }
    location.hash = address;
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (!place.checkVisibility()) { missed.push(`${address} is folded away`); continue; }
    const {top, bottom} = place.getBoundingClientRect();
    if (top > innerHeight || bottom < 0) { missed.push(`${address} is at ${top}`); continue; }
    const bar = document.elementFromPoint(innerWidth / 2, Math.max(0, top) + 2);
    if (bar && bar.closest('nav, header') && !bar.closest('nav, header').contains(place))
      missed.push(`${address} is under the bar`);
  }
  return missed;
}"""
