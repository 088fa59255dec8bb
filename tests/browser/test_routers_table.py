"""Sorting and filtering of the table with a row a router, by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import OpenPage
from tests.browser.page import ReportPage

TIME = "Time / linear"


def numbers(texts: list[str]) -> list[float]:
    """The first number of each that has one."""
    found = (re.search(r"\d[\d,]*\.?\d*", text) for text in texts)
    return [float(match[0].replace(",", "")) for match in found if match]


def click(page: ReportPage) -> None:
    page.sort_button(TIME).click()


def press_enter(page: ReportPage) -> None:
    page.sort_button(TIME).focus()
    page.tab.keyboard.press("Enter")


def press_space(page: ReportPage) -> None:
    page.sort_button(TIME).focus()
    page.tab.keyboard.press("Space")


@pytest.mark.parametrize("site", ["whole", "forty"])
def test_it_is_sorted_by_numbers_up_then_down_and_dashes_stay_last(site: str, open_page: OpenPage) -> None:
    page = open_page(site)
    before = page.names()
    for act, direction in zip(
        (click, press_enter, press_space, click, press_space), ("ascending", "descending", None) * 2, strict=False
    ):
        act(page)
        if direction is None:
            assert page.column(TIME).get_attribute("aria-sort") is None
            assert page.names() == before
            continue
        assert page.column(TIME).get_attribute("aria-sort") == direction
        texts = page.values(TIME)
        found = numbers(texts)
        assert found == sorted(found, reverse=direction == "descending")
        assert numbers(texts[: len(found)]) == found
        assert len(set(found)) > 5
    assert sorted(page.names()) == sorted(before)


def test_only_one_column_says_that_it_is_sorted(open_page: OpenPage) -> None:
    page = open_page("whole")
    click(page)
    page.sort_button("Router").click()
    assert page.routers.locator("[aria-sort]").count() == 1
    assert page.names() == sorted(page.names())


def test_words_leave_the_rows_that_have_them(open_page: OpenPage) -> None:
    page = open_page("forty")
    assert len(page.names()) >= 40
    page.filter.click()
    page.tab.keyboard.type("Own_Router_1")
    assert page.names() == [f"own_router_{number}" for number in range(10, 20)]
    assert page.left.inner_text().startswith("10 of")
    page.filter.fill("no such router")
    assert page.names() == []
    assert page.left.inner_text().startswith("0 of")
    page.filter.fill("")
    assert len(page.names()) >= 40


def test_a_filter_is_reached_and_cleared_by_keyboard_and_survives_sorting(open_page: OpenPage) -> None:
    page = open_page("forty")
    page.filter.focus()
    page.tab.keyboard.type("own_router_2")
    click(page)
    assert sorted(page.names()) == [f"own_router_{number}" for number in range(20, 30)]
    page.filter.focus()
    page.tab.keyboard.press("Escape")
    assert len(page.names()) >= 40


def test_a_link_to_a_row_that_is_filtered_away_brings_it_back(open_page: OpenPage) -> None:
    page = open_page("whole")
    page.filter.fill("no such router")
    link = page.part("answers").get_by_role("link").first
    link.click()
    assert link.inner_text() in page.names()


def test_the_names_stay_where_they_are_when_a_phone_scrolls_sideways(open_page: OpenPage) -> None:
    page = open_page("whole", 390)
    name = page.routers.locator("tbody th").first
    before = name.bounding_box()
    moved = page.routers.evaluate(
        "table => { const box = table.parentElement; box.scrollLeft = 150; return box.scrollLeft; }"
    )
    assert moved == 150
    assert name.bounding_box()["x"] == pytest.approx(before["x"], abs=1)  # type: ignore[index]


def test_one_router_needs_neither(open_page: OpenPage) -> None:
    page = open_page("one")
    assert len(page.names()) == 1
    assert page.routers.get_by_role("button").count() == 0
    assert page.filter.count() == 0
