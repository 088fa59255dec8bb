"""A Chromium for all tests, pages made once, and tabs that fail their test when the page complains or asks for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import MISSING, find_chromium
from tests.browser.page import WIDTHS, ReportPage
from tests.browser.sites import SITES, Builder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OpenPage = Callable[..., ReportPage]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", type=Path, metavar="DIR", help="save pictures of all pages there, to be looked at"
    )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; without playwright or a Chromium they are skipped with the reason."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: tox run -e browser installs it")
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def build(chromium: Browser, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator:
    """Name of a site -> path of its page; those that the chosen tests name are made in the background."""
    builder = Builder(tmp_path_factory.mktemp("sites"))
    builder.begin([name for name in SITES if any(name in item.name for item in request.session.items)])
    yield builder.page
    builder.close()


@pytest.fixture
def open_page(chromium: Browser, build: Callable[[str], Path]) -> Iterator[OpenPage]:
    """(name of a site, width, theme, #address, and options of a browser's context) -> its page in a tab of its own.

    At the end of the test no tab may have printed anything on its console, opened a dialog or asked for anything but
    its own file.
    """
    contexts, complaints = [], []

    def open_one(name: str, width: int = 1400, theme: str = "light", at: str = "", **options: Any) -> ReportPage:
        path = build(name)
        viewport = {"width": width, "height": WIDTHS[width]}
        context = chromium.new_context(viewport=viewport, color_scheme=theme, offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        allowed = path.parent.as_uri() if SITES[name].built else path.as_uri()
        tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on(
            "request",
            lambda request: request.url.startswith((allowed, "data:")) or complaints.append(f"asked for {request.url}"),
        )
        tab.goto(path.as_uri() + at)
        return ReportPage(tab)

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
