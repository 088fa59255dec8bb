"""What a reader sees before scrolling: the run, whether to trust it, the answers, and where the table begins."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenPage
from tests.browser.page import WIDTHS
from tests.browser.sites import REPORTS

SCREENS = {1400: 1, 390: 2}
"""Width -> how many windows hold it."""


@pytest.mark.parametrize("site", sorted({*REPORTS} - {"hostile"}))  # names of 200 characters take room on a phone
def test_run_trust_answers_and_table_are_on_it(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    parts = (page.run_line, page.part("trust"), page.part("answers"), page.routers.locator("thead"))
    for width, screens in SCREENS.items():
        page.resize(width)
        ends = [page.bottom(part) for part in parts]
        assert max(ends) <= WIDTHS[width] * screens, (width, ends)
    assert ends == sorted(ends)  # on a phone they stand in the order of asking


def test_an_answer_leads_to_the_row_of_its_router(open_page: OpenPage) -> None:
    page = open_page("whole")
    link = page.part("answers").get_by_role("link").first
    name = link.inner_text()
    link.click()
    row = page.tab.locator(":target, tr.here").first
    assert name in row.inner_text()
    assert row.evaluate("row => { const {top} = row.getBoundingClientRect(); return top >= 0 && top < innerHeight; }")


def test_the_first_stop_of_the_tab_key_skips_to_the_answers(open_page: OpenPage) -> None:
    page = open_page("whole")
    page.tab.keyboard.press("Tab")
    focused = page.tab.locator(":focus")
    assert focused.inner_text().startswith("Skip to")
    assert focused.bounding_box()["x"] >= 0  # type: ignore[index]
    page.tab.keyboard.press("Enter")
    assert page.tab.url.endswith("#answers")


def test_on_a_phone_the_checks_that_were_passed_are_folded(open_page: OpenPage) -> None:
    page = open_page("whole")
    passed = page.part("passed")
    assert passed.get_attribute("open") is not None
    page.resize(390)
    passed.locator("li").first.wait_for(state="hidden")
    passed.locator("summary").click()
    passed.locator("li").first.wait_for(state="visible")
