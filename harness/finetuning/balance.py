"""The load of a model's experts while it trains, and what evens it out, over all processes' tokens.

Axes: B batch, S sequence, T tokens, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.finetuning.processes import all_reduce_sum, process_count
from harness.replacement.gate_hooks import hear_gates, refuse_lost_gradient
from harness.replacement.router_gate import RouterGate
from routers import Routing, TokenChoice
from routers.balancing import Processes, SwitchBalancer, create_balancer, tally
from routers.metrics import coefficient_of_variation, max_violation


class LoadBalance:
    """Hears what gates decide, makes a loss and statistics of it, and changes what no gradient changes.

    The loss is a balancer's of `routers.balancing`. By default that is E Σ f_e P_e, the mean over gates: f_e the share
    of assignments to expert e, P_e its mean probability (Fedus et al. 2021, equation 4; equation 17 of the paper
    without its α, times E). It is 1 at balance. Both f and P are those of the batch of all processes together: a
    process sees few tokens, and evening out each process's own few would forbid experts to specialise (Qiu et al. 2025,
    arXiv 2501.11873). Padding does not count.

    Args:
        gates: name -> a gate that gives (logits (T, E), weights (T, K), experts (T, K)).
        name: of the balancer.
        frozen: the routers are not changed.
        **options: the balancer's.

    Raises:
        ValueError: an unknown balancer, or gates that it cannot balance.
    """

    def __init__(
        self, gates: Mapping[str, nn.Module], name: str = "switch", *, frozen: bool = False, **options: Any
    ) -> None:
        self._routers = {each: gate.router if isinstance(gate, RouterGate) else gate for each, gate in gates.items()}
        # By their names in this module, as everything here asks for the other processes.
        processes = Processes(lambda: process_count(), lambda values: all_reduce_sum(values))
        self.balancer = create_balancer(name, self._routers, processes=processes, **options)
        self._processes = processes
        self._switch = SwitchBalancer(self._routers, processes=processes)
        self._frozen = frozen
        self._heard: list[tuple[str, Routing]] = []
        self._mask: Tensor | None = None
        self._counts: list[Tensor] = []
        self.switch_loss = torch.zeros(())
        """E Σ f P of the last pass, whatever balances; no gradient."""

    @contextmanager
    def listening(self, attention_mask: Tensor | None) -> Iterator[None]:
        """Hear the gates inside; (B, S) mask, 0 on padding. What is recomputed in the backward pass is not heard."""
        self._heard, self._mask = [], attention_mask
        # Nothing is computed here: a checkpointed layer must do the same when it is recomputed, unheard.
        with hear_gates(self._routers, self._hear):
            yield

    def _hear(self, name: str, _inputs: object, decision: Any) -> None:
        self._heard.append((name, _with_its_gradient(_as_routing(decision))))

    def loss(self) -> Tensor:
        """A scalar whose mean over the processes, in value and gradient, is the balancing loss of the last pass.

        Its backward pass is a ValueError under checkpointing with `use_reentrant=True`, which loses the gradient.
        """
        if not self._heard:
            raise ValueError("no gate was heard: `listening` must go around the forward pass")
        counted = tally(((name, _with_logits(routing)) for name, routing in self._heard), self._mask, self._processes)
        self._add([each.tokens_per_expert for each in counted])
        loss = self.balancer.loss_of(counted)
        if isinstance(self.balancer, SwitchBalancer):
            self.switch_loss = loss.detach()
        else:
            with torch.no_grad():
                self.switch_loss = self._switch.loss_of(counted)
        return loss

    def update(self) -> None:
        """End a step of the optimiser."""
        self.balancer.update(frozen=self._frozen)

    def _add(self, counts: list[Tensor]) -> None:
        earlier = self._counts or [torch.zeros_like(count) for count in counts]
        self._counts = [before + count for before, count in zip(earlier, counts, strict=True)]

    def take_statistics(self) -> dict[str, float]:
        """The statistics `max_violation` and `load_cv` of all tokens since the last call, each the mean over gates."""
        counts, self._counts = self._counts, []
        return {
            name: float(torch.stack([measure(count) for count in counts]).mean())
            for name, measure in (("max_violation", max_violation), ("load_cv", coefficient_of_variation))
        }


def _as_routing(decision: Any) -> Routing:
    """What a router of ours gives, or what a model's own gate does: logits (T, E), weights (T, K), experts (T, K)."""
    if isinstance(decision, Routing):
        return decision
    logits, weights, experts = decision
    return TokenChoice(logits.shape[-1], logits=logits, routing_weights=weights, selected_experts=experts)


def _with_its_gradient(routing: Routing) -> Routing:
    """The routing, whose tensors refuse to be differentiated where reentrant checkpointing has cut them off."""
    values = {each.name: getattr(routing, each.name) for each in fields(routing)}
    found: dict[str, Any] = {name: _refusing(value) for name, value in values.items() if isinstance(value, Tensor)}
    if routing.unread is not None:
        found["unread"] = routing.unread.mapped(_refusing)
    return replace(routing, **found)


def _refusing(tensor: Tensor) -> Tensor:
    return refuse_lost_gradient(tensor) if tensor.is_floating_point() else tensor


def _with_logits(routing: Routing) -> Routing:
    """The routing of a gate, which has logits always: where there are probabilities alone, their logarithm."""
    return routing if routing.logits is not None else replace(routing, probs=None, logits=routing.router_logits)
