"""What the tests of measurements share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from bench.repetition.repetition import Repetition
from bench.run import Run
from bench.suite import Suite
from harness.progress import Bar, Progress


class Silent:
    """A bar that shows nothing."""

    def update(self, n: int = 1) -> object:
        return n


@contextmanager
def _no_bar(what: str, steps: int) -> Iterator[Bar]:
    yield Silent()


Measure = Callable[..., None]


@pytest.fixture
def measure() -> Measure:
    """Measures all that some suites of one context have planned, in this process."""

    def measure_here(*suites: Suite[Any]) -> None:
        run = Run(suites[0].preset, suites[0].context, suites)
        run.measure(lambda plan, folder: nullcontext(Repetition(plan, folder)))

    return measure_here


@pytest.fixture
def no_bar() -> Progress:
    return _no_bar
