"""What a reader finds on a page, by roles and names as a screen reader says them, so that its looks may change.

This is the contract between the page and its tests:

- one `main`, one heading of the first level, and a link "Skip to ..." that the Tab key reaches first;
- the line of the run in the `header`, and parts with the addresses #trust, #answers and #routers, which people send
  each other; the last has a table with a row a router, whose names are headings of their rows;
- each column of that table is sorted by a button in its heading, which says so by `aria-sort`;
- a search box filters its rows, and a `status` says how many are left;
- sections are `details` of the class `section`, and a link to something inside opens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WIDTHS = {1400: 900, 800: 1100, 390: 844}
"""Width -> height of a desk's, a tablet's and a phone's window, in CSS pixels."""

THEMES = ("light", "dark")


@dataclass(frozen=True)
class ReportPage:
    """A page in a tab."""

    tab: Page

    def part(self, address: str) -> Locator:
        """A part of the page by its address without the #; roles are found quickly in it, slowly among all figures."""
        return self.tab.locator(f"[id='{address}']")

    @property
    def run_line(self) -> Locator:
        """What was run, on what, when."""
        return self.tab.locator("header p").first

    @property
    def routers(self) -> Locator:
        """The table with a row a router."""
        return self.part("routers").get_by_role("table").first

    def names(self) -> list[str]:
        """Names of the routers in the rows that are shown, from the top."""
        return self.routers.locator("tbody tr:visible th").all_inner_texts()

    def column(self, heading: str) -> Locator:
        """The heading's cell, which has `aria-sort`."""
        return self.routers.get_by_role("columnheader", name=heading)

    def sort_button(self, heading: str) -> Locator:
        """What sorts by a column."""
        return self.column(heading).get_by_role("button")

    def values(self, heading: str) -> list[str]:
        """The cells of a column in the rows that are shown, from the top."""
        headings = self.routers.locator("thead th").all_inner_texts()
        place = next(place for place, text in enumerate(headings, 1) if " ".join(text.split()).startswith(heading))
        return self.routers.locator(f"tbody tr:visible > :nth-child({place})").all_inner_texts()

    @property
    def filter(self) -> Locator:
        """Where words are typed that a row must have."""
        return self.part("routers").get_by_role("searchbox")

    @property
    def left(self) -> Locator:
        """How many rows are left."""
        return self.part("routers").get_by_role("status")

    def resize(self, width: int) -> None:
        """Makes the window that wide, and as high as such a device's."""
        self.tab.set_viewport_size({"width": width, "height": WIDTHS[width]})

    def settle(self) -> None:
        """Waits until the page has drawn two frames more: its script sees what overflows between layout and paint."""
        self.tab.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def unfold(self) -> None:
        """Opens every folded section."""
        self.tab.evaluate("() => document.querySelectorAll('details').forEach(part => { part.open = true; })")

    def scrolls_sideways(self) -> list[str]:
        """What makes the whole page wider than its window: nothing, or the elements that stick out furthest."""
        return self.tab.evaluate(_STICKING_OUT)

    def hidden(self, selector: str) -> list[str]:
        """Beginnings of the text of those elements that a reader does not see."""
        return self.tab.locator(selector).evaluate_all(
            "found => found.filter(one => !one.checkVisibility()).map(one => one.textContent.trim().slice(0, 60))"
        )

    def bottom(self, part: Locator) -> float:
        """How far below the top of the page a part ends, in CSS pixels."""
        return part.evaluate("part => part.getBoundingClientRect().bottom + scrollY")

    def style(self, selector: str, name: str) -> str:
        """The computed value of a style of the first such element."""
        return self.tab.locator(selector).first.evaluate("(one, name) => getComputedStyle(one)[name]", name)


_STICKING_OUT = """() => {
  const root = document.documentElement, width = root.clientWidth;
  if (root.scrollWidth <= width && document.body.scrollWidth <= width) return [];
  const scrolls = one => one && one !== document.body && one !== root &&
    (getComputedStyle(one).overflowX !== 'visible' || scrolls(one.parentElement));
  return [...document.body.querySelectorAll('*')]
    .filter(one => one.getBoundingClientRect().right > width + 1 && !scrolls(one.parentElement))
    .map(one => [one.getBoundingClientRect().right, one.outerHTML.slice(0, 120)])
    .sort((a, b) => b[0] - a[0]).slice(0, 3).map(([right, html]) => `${Math.round(right)} px: ${html}`)
    .concat(`the page is ${root.scrollWidth} px wide`);
}"""
