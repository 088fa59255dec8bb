"""Progress bars for what takes longer than two seconds; rarely renewed where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Bar(Protocol):
    """What is asked of a progress bar; tqdm's is one."""

    def update(self, n: int = 1) -> object:
        """Count so many steps as done."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(what, steps) -> a bar."""


def progress_bar(what: str, steps: int) -> AbstractContextManager[Bar]:
    """A bar on standard error that is updated by hand."""
    return tqdm(total=steps, desc=what, leave=False, delay=2, mininterval=_interval())


def progress(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, with a bar on standard error."""
    yield from tqdm(items, desc=what, leave=False, delay=2, mininterval=_interval())


def _interval() -> float:
    """Seconds between two pictures of a bar."""
    return 0.1 if sys.stderr.isatty() else 10
