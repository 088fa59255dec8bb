"""Routing: which expert inputs are formed, and how expert outputs return to tokens.

A router decides, a `Routing` acts. `MoELayer` calls the two verbs `dispatch` and `combine` and never asks what kind of
routing it holds: token choice, expert choice and soft slots differ only in here (the shape of Google's vmoe).
"""

from routers.routing.expert_choice import ExpertChoice
from routers.routing.probabilities import divided_by_sum, expert_softmax
from routers.routing.routing import Routing
from routers.routing.soft_slots import SoftSlots
from routers.routing.straight_through import StraightThrough
from routers.routing.token_choice import TokenChoice, count_assignments

__all__ = [
    "ExpertChoice",
    "Routing",
    "SoftSlots",
    "StraightThrough",
    "TokenChoice",
    "count_assignments",
    "divided_by_sum",
    "expert_softmax",
]
