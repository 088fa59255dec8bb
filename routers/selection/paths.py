"""The ways to carry out a selection rule, by name. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from routers.selection.rule import SelectionRule
    from routers.selection.selection import Selection

EAGER = "eager"


@dataclass(frozen=True)
class SelectionPath:
    """A way to carry out rules.

    Attributes:
        name: as `use_selection_path` takes it.
        suits: (rule, logits (T, E), K) -> it gives the rule's answer for them.
        wins: (rule, logits (T, E), K) -> a benchmark says that it is the faster way.
        select: (rule, logits (T, E), K, bias (E,) or None, expert_scale (E,) or None) -> the selection.
    """

    name: str
    suits: Callable[[SelectionRule, Tensor, int], bool]
    wins: Callable[[SelectionRule, Tensor, int], bool]
    select: Callable[[SelectionRule, Tensor, int, Tensor | None, Tensor | None], Selection]


_paths: dict[str, SelectionPath] = {}
_asked_for: list[str] = []


def register_selection_path(path: SelectionPath) -> SelectionPath:
    """Make a path known: it is taken where it suits and wins, and none that was registered before it does.

    Raises:
        ValueError: the name is taken by another path.
    """
    if path.name == EAGER or _paths.setdefault(path.name, path) != path:
        raise ValueError(f"selection path {path.name!r} is already registered")
    return path


@contextmanager
def use_selection_path(name: str | None) -> Iterator[None]:
    """Take this path where it suits, whether or not it wins, and the eager one elsewhere; None for the usual choice.

    Raises:
        ValueError: a path that there is not; the message lists those that exist.
    """
    if name not in (None, EAGER, *_paths):
        raise ValueError(f"selection path is {name!r}, expected None or one of: {', '.join((EAGER, *_paths))}")
    before = _asked_for[:]
    _asked_for[:] = [] if name is None else [name]
    try:
        yield
    finally:
        _asked_for[:] = before


def may_take(name: str) -> bool:
    """No path was asked for, or this one."""
    return not _asked_for or name in _asked_for


def choose_selection_path(rule: SelectionRule, logits: Tensor, top_k: int) -> SelectionPath | None:
    """The path for logits (T, E); None for the eager one."""
    for path in _paths.values():
        if (path.name in _asked_for or (not _asked_for and path.wins(rule, logits, top_k))) and path.suits(
            rule, logits, top_k
        ):
            return path
    return None
