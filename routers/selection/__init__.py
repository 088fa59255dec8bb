"""Selection rules: how experts are selected and weighed once a scorer has made its logits. A rule is data."""

from routers.selection.catalogue import get_selection_rule, list_selection_rules, register_selection_rule
from routers.selection.rule import SelectionRule

__all__ = ["SelectionRule", "get_selection_rule", "list_selection_rules", "register_selection_rule"]
