"""The benchmarks of a revision, as pytest collects them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import pytest

from bench.case import Case
from bench.gate.errors import CollectionError
from bench.scenario import list_scenarios
from bench.session import case_of


def collect(preset: str, select: str | None, routers: Sequence[str]) -> list[Case]:
    """The benchmarks of the checkout in the current folder; none where the expression selects none.

    Args:
        preset: its name.
        select: a `-k` expression, or None for all.
        routers: further ones, as `--router` takes them.

    Raises:
        CollectionError: a module that does not import, an expression that does not parse, an unknown preset.
    """
    found = _Collected()
    arguments = ["bench", "--collect-only", "-qq", "--no-header", "-p", "no:cacheprovider"]
    arguments += ["--assert=plain", "--preset", preset]  # the suite is imported already: too late to rewrite it
    arguments += [word for router in routers for word in ("--router", router)]
    arguments += ["-k", select] if select else []
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = pytest.main(arguments, plugins=[found])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise CollectionError(found.error or _last_error(output.getvalue()) or f"pytest ended with {status}")
    return found.benchmarks


class _Collected:
    """A pytest plugin that notes the benchmarks that were collected, and the first error."""

    def __init__(self) -> None:
        self.benchmarks: list[Case] = []
        self.error: str | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.error is None:
            self.error = f"{report.nodeid}: {_last_error(report.longreprtext)}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            # Those inside a language model, which have no input, are not offered: each fresh process would load one,
            # and a router's share in their time is too small for a regression to be found in it. Nor is others' code,
            # which no revision of this one changes.
            if (case := case_of(item)) and case.scenario in list_scenarios("router"):
                self.benchmarks.append(case)


def _last_error(text: str) -> str:
    """The line that says what went wrong: pytest marks those of a traceback with E."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line.removeprefix("E ").strip() for line in lines if line.startswith("E ")]
    said = [line for line in lines if line.startswith("ERROR")]
    return next(iter([*marked[-1:], *said[:1], *lines[-1:]]), "")
