"""Sections that open: by a click, by keyboard, by a link to something inside, and as the page is opened at one."""

from __future__ import annotations

from tests.browser.conftest import OpenPage
from tests.browser.page import ReportPage


def closed(page: ReportPage) -> int:
    return page.tab.locator("details.section:not([open])").count()


def test_they_are_closed_at_first_and_open_by_mouse_and_keyboard(open_page: OpenPage) -> None:
    page = open_page("whole")
    number = closed(page)
    assert number >= 5
    summaries = page.tab.locator("details.section > summary")
    summaries.nth(0).click()
    summaries.nth(1).focus()
    page.tab.keyboard.press("Enter")
    assert closed(page) == number - 2


def test_a_page_opened_at_a_place_in_a_section_shows_it(open_page: OpenPage) -> None:
    place = open_page("whole").tab.locator("details.section [id]:not(svg [id])").last.get_attribute("id")
    page = open_page("whole", at=f"#{place}")
    assert page.hidden(f"[id='{place}']") == []
    assert page.part(str(place)).evaluate("place => place.getBoundingClientRect().top < innerHeight")


def test_all_open_and_close_at_once(open_page: OpenPage) -> None:
    page = open_page("whole")
    number = closed(page)
    button = page.tab.locator("nav").first.get_by_role("button", name="Expand all")
    button.click()
    assert closed(page) == 0
    page.tab.locator("nav").first.get_by_role("button", name="Collapse all").click()
    assert closed(page) == number
