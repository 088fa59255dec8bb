"""The progress bar of everything that may take long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tqdm import tqdm


class Bar(Protocol):
    """A progress bar that is drawn; tqdm's is one."""

    def update(self, n: int = 1) -> object:
        """Move the bar on by `n` steps."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""(title, number of steps) -> the bar, within its `with` block. Tests pass one that draws nothing."""


def progress_bar(title: str, steps: int, *, delay: float = 2, **options: Any) -> tqdm[Any]:
    """A bar on standard error for what takes longer than two seconds, rarely renewed where nobody watches.

    Args:
        title: what is going on.
        steps: how many steps the whole takes.
        delay: seconds before the bar is drawn. One that is drawn at once stays when it is full, as a record.
        **options: those of tqdm, such as `unit`.
    """
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=steps, desc=title, leave=not delay, delay=delay, mininterval=interval, **options)
