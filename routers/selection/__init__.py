"""Selection rules: how experts are selected and weighed once a scorer has made its logits. A rule is data."""

from routers.selection.catalogue import get_selection_rule, list_selection_rules, register_selection_rule
from routers.selection.fused import FUSED_PATH
from routers.selection.native import NATIVE_PATH
from routers.selection.paths import SelectionPath, register_selection_path, use_selection_path
from routers.selection.rule import SelectionRule

register_selection_path(FUSED_PATH)
register_selection_path(NATIVE_PATH)

__all__ = [
    "SelectionPath",
    "SelectionRule",
    "get_selection_rule",
    "list_selection_rules",
    "register_selection_path",
    "register_selection_rule",
    "use_selection_path",
]
