"""Progress bars for what takes longer than two seconds; rarely renewed where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, with a bar on standard error."""
    interval = 0.1 if sys.stderr.isatty() else 10
    yield from tqdm(items, desc=what, leave=False, delay=2, mininterval=interval)
