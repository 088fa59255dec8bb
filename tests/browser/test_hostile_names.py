"""Names that mean harm are words on the page, and nothing else."""

from __future__ import annotations

from tests.browser.conftest import OpenPage


def test_they_make_no_element_and_run_nothing(open_page: OpenPage) -> None:
    page = open_page("hostile")
    assert page.tab.locator("#planted").count() == 0
    assert page.tab.locator("main img, main script, main iframe, [onerror], [onload], [onclick]").count() == 0


def test_they_are_all_in_the_table_as_words(open_page: OpenPage) -> None:
    page = open_page("hostile")
    names = " ".join(page.routers.locator("tbody th").all_text_contents())
    assert "<img src=x id=planted" in names
    assert "=cmd" in names
    assert "right-to-left" in names
    assert "\x1b" not in page.tab.content()


def test_marks_that_turn_text_round_do_not_reach_what_follows(open_page: OpenPage) -> None:
    page = open_page("hostile")
    page.unfold()
    assert page.tab.evaluate(_LOOSE_MARKS) == []


def test_a_name_as_long_as_a_paragraph_leaves_room_for_the_others(open_page: OpenPage) -> None:
    page = open_page("hostile")
    heights = page.routers.locator("tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert max(heights) < 150


_LOOSE_MARKS = """() => {
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let word = words.nextNode(); word; word = words.nextNode()) {
    if (!/[\\u202a-\\u202e\\u2066-\\u2069]/.test(word.data)) continue;
    const kept = word.parentElement.closest('bdi, script, style') ||
      getComputedStyle(word.parentElement).unicodeBidi.startsWith('isolate');
    if (!kept) found.push(`${word.parentElement.tagName}: ${word.data.trim().slice(0, 80)}`);
  }
  return found;
}"""
