"""axe-core on a page: what somebody with a screen reader, a keyboard or weak eyes would stumble over."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAVE = ("serious", "critical")

# What a graphic with the role of an image holds is presentational, so that nothing reads it. Of what one template makes
# again and again a few stand for all: rows of a table, tables and figures of a section, lines of a list. axe would take
# twenty times as long.
_SHORTEN = """() => {
  const few = (parts, number) => [...parts].slice(number).forEach(part => part.remove());
  document.querySelectorAll('svg[role=img]').forEach(svg => svg.replaceChildren());
  document.querySelectorAll('details').forEach(section => few(section.querySelectorAll('.shown'), 3));
  document.querySelectorAll('tbody').forEach(body => few(body.rows, 4));
  document.querySelectorAll('details dl').forEach(list => few(list.children, 10));
}"""
_RUN = """async rules => {
  const options = rules.length ? {runOnly: {type: 'rule', values: rules}} : {};
  const {violations} = await axe.run(document, {resultTypes: ['violations'], preload: false, ...options});
  return violations.map(({id, impact, help, nodes}) =>
    [impact, id, help, nodes.length, nodes[0].html.slice(0, 200), nodes[0].failureSummary]);
}"""


def findings(page: Page, *rules: str) -> list[str]:
    """The serious and critical ones, of all rules or of those named, one line each with the first element.

    The page is to be in the state that is judged: folded sections are not looked into. It is shortened by this.
    """
    page.evaluate(_SHORTEN)
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    return [
        f"{impact}: {rule} ({help_}), {number} elements, the first: {element} {' '.join(summary.split())}"
        for impact, rule, help_, number, element, summary in page.evaluate(_RUN, list(rules))
        if impact in GRAVE
    ]
