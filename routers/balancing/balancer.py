"""Balancer: the verbs by which a training evens out the load of its experts. Axes: T tokens, E experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from routers.balancing.processes import Processes
from routers.balancing.tally import Tally, tally
from routers.routing import Routing


class Balancer:
    """Evens out the load of the experts of some routers.

    A training calls `loss` with each batch's routings, adds it to its own loss, and calls `update` once after each step
    of the optimiser, however many batches were accumulated in it and however many processes take part:

        loss = task + coefficient * balancer.loss({"layer": routing}, mask)
        loss.backward()
        ...
        optimizer.step()
        balancer.update()

    What `loss` is not called with does not count: an evaluation, and what activation checkpointing computes a second
    time. The tensors of `state` belong into a checkpoint; they are changed in place, and are loaded by copying into
    them.

    Args:
        routers: name -> a router whose load is balanced.
        processes: those that train together; by default those of torch.distributed.
        **options: a balancer's own.
    """

    weighs_itself = False
    """`loss` has its coefficient in it already; a training adds it as it is."""
    rule_fields: Mapping[str, Any] = MappingProxyType({})
    """The fields of the selection rule that its routers need; with them any rule becomes one that it can balance."""
    slots_for_all = False
    """Its routers need K = E, and choose by themselves how many of the K they take."""

    def __init__(self, routers: Mapping[str, nn.Module], *, processes: Processes | None = None) -> None:
        self.routers = dict(routers)
        self.processes = processes or Processes()

    def loss(self, routings: Mapping[str, Routing], mask: Tensor | None = None) -> Tensor:
        """The balancing loss of a batch, (), whose mean over the processes is that of all their tokens.

        In value and in gradient, as data-parallel training averages it. The mean over the routers.

        Args:
            routings: name -> what that router decided; all of the same batch.
            mask: (B, S) or (T,), True or 1 where a token counts; the routings' own if None, and every token where they
                have none.

        Raises:
            ValueError: no routing, one of a router that is not balanced, or the mask is of other tokens.
            TypeError: a router did not choose experts for tokens.
        """
        if unknown := sorted(set(routings) - set(self.routers)):
            raise ValueError(f"routings are of {unknown[0]!r}, expected those of: {', '.join(self.routers) or 'none'}")
        return self.loss_of(tally(routings.items(), mask, self.processes))

    def loss_of(self, tallies: Sequence[Tally]) -> Tensor:
        """As `loss`, of a batch that is counted already."""
        if not tallies:
            raise ValueError("routings are empty, expected those of at least one router")
        return torch.stack([self.router_loss(each) for each in tallies]).mean()

    def router_loss(self, counted: Tally) -> Tensor:
        """The loss of one router, (); also notes what `update` needs. What a balancer writes."""
        raise NotImplementedError

    @torch.no_grad()
    def update(self, *, frozen: bool = False) -> None:
        """End a step of the optimiser: change what no gradient changes, and begin to count anew. In all processes.

        Args:
            frozen: leave the routers as they are.
        """
        if not frozen:
            self.change()
        self.begin()

    def change(self) -> None:
        """Change what no gradient changes, by what the step has counted; most have nothing to change."""

    def begin(self) -> None:
        """Forget what the step has counted; most keep nothing."""

    def state(self) -> dict[str, Tensor]:
        """name -> a tensor that a checkpoint has to hold between two steps, beside the routers' parameters."""
        return {}
