"""The selection rule as one Triton kernel, a path of `routers.selection.paths`. Triton is imported when it is used."""

from routers.selection.fused.path import select, suits, wins
from routers.selection.paths import SelectionPath

FUSED_PATH = SelectionPath("fused", suits, wins, select)

__all__ = ["FUSED_PATH"]
