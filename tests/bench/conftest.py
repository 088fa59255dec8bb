"""What the tests of measurements share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.progress import Bar, Progress


class Silent:
    """A bar that shows nothing."""

    def update(self, n: int = 1) -> object:
        return n


@contextmanager
def _no_bar(what: str, steps: int) -> Iterator[Bar]:
    yield Silent()


@pytest.fixture
def no_bar() -> Progress:
    return _no_bar
