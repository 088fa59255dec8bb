"""The selection rule as one native kernel of the CPU, a path of `routers.selection.paths`; see `routers.native`."""

from routers.selection.native.path import select, suits, wins
from routers.selection.paths import SelectionPath

NATIVE_PATH = SelectionPath("native", suits, wins, select)

__all__ = ["NATIVE_PATH"]
