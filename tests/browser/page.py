"""What a reader finds on a page, by roles and names as a screen reader says them, so that its looks may change.

This is the contract between the page and its tests:

- one `main`, one heading of the first level, a link "Skip to ..." that comes first;
- regions named "Run", "Trust" and "Answers" on the first screen, and a table named "Routers";
- each column of that table is sorted by a button in its heading, which says so by `aria-sort`;
- a search box filters its rows, and a `status` says how many are left;
- whatever can be folded is a `details`, and a link to something inside opens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

FIRST_SCREEN = ("Run", "Trust", "Answers")
"""Names of the regions that a reader sees first, in their order."""


@dataclass(frozen=True)
class ReportPage:
    """A page in a tab."""

    tab: Page

    def region(self, name: str) -> Locator:
        """A part of the page with a name."""
        return self.tab.get_by_role("region", name=name, exact=True)

    @property
    def routers(self) -> Locator:
        """The table with a row a router."""
        return self.tab.get_by_role("table", name="Routers", exact=True)

    def rows(self) -> list[str]:
        """Names of the routers in the rows that are shown, from the top."""
        return [row for row in self.routers.locator("tbody tr:visible th").all_inner_texts() if row]

    def column(self, heading: str) -> Locator:
        """The heading's cell, which has `aria-sort`."""
        return self.routers.get_by_role("columnheader", name=heading)

    def sort_button(self, heading: str) -> Locator:
        """What sorts by a column."""
        return self.column(heading).get_by_role("button")

    @property
    def filter(self) -> Locator:
        """Where words are typed that a row must have."""
        return self.tab.get_by_role("searchbox")

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
