"""Mixture-of-Experts routers, the layer that acts on them, and what they cost: torch and nothing else.

Importing the package registers its scorers, one a file, and its metrics.
"""

from routers import losses, metrics, scorers  # noqa: F401  # imported for what they register
from routers.base import Router
from routers.layer.experts import FeedForwardExperts, GatedExperts, create_experts
from routers.layer.moe_layer import MoELayer
from routers.layer.shared_experts import SharedExperts
from routers.layer.zero_computation import ZeroComputationExperts
from routers.logit_router import LogitRouter
from routers.registry import (
    ask_for,
    create_router,
    get_router_class,
    list_routers,
    register_from_path,
    register_router,
    temporary_router,
)
from routers.routing import ExpertChoice, Routing, SoftSlots, StraightThrough, TokenChoice
from routers.selection import SelectionRule, get_selection_rule, list_selection_rules, register_selection_rule

__all__ = [
    "ExpertChoice",
    "FeedForwardExperts",
    "GatedExperts",
    "LogitRouter",
    "MoELayer",
    "Router",
    "Routing",
    "SelectionRule",
    "SharedExperts",
    "SoftSlots",
    "StraightThrough",
    "TokenChoice",
    "ZeroComputationExperts",
    "ask_for",
    "create_experts",
    "create_router",
    "get_router_class",
    "get_selection_rule",
    "list_routers",
    "list_selection_rules",
    "register_from_path",
    "register_router",
    "register_selection_rule",
    "temporary_router",
]
