"""The configuration of a router, enough to make it again. Axes: D hidden size, E experts, K experts per token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from routers import Router, SelectionRule, create_router, get_router_class
from routers.registry import class_path

_RULE = "selection"
"""The option that is a rule: data, written as its fields."""


@dataclass(frozen=True)
class RouterConfig:
    """A router's name, sizes and options.

    Attributes:
        name: a registered one.
        hidden_size: D.
        num_experts: E.
        top_k: K as it was asked for; a router may take another.
        options: the router's own and those of `Router`.
    """

    name: str
    hidden_size: int
    num_experts: int
    top_k: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Router:
        """A new router.

        Raises:
            ValueError: an unknown name, or a value that the router refuses.
            TypeError: an option that the router does not have.
        """
        return create_router(
            self.name,
            hidden_size=self.hidden_size,
            num_experts=self.num_experts,
            top_k=self.top_k,
            **self.options,
        )

    def make_aside(self, device: str = "cpu") -> Router:
        """A new router on a device; the random numbers that are drawn later are those that they would have been."""
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return self.make()

    def class_path(self) -> str:
        """Module and name of the class that is registered under the name.

        Raises:
            ValueError: an unknown name.
        """
        return class_path(get_router_class(self.name))

    def tensors(self) -> dict[str, Tensor]:
        """The options that are tensors."""
        return {name: value for name, value in self.options.items() if isinstance(value, Tensor)}

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON; null stands in the place of a tensor.

        Raises:
            ValueError: an option that JSON cannot carry.
        """
        options = {name: None if isinstance(value, Tensor) else value for name, value in self.options.items()}
        if isinstance(rule := options.get(_RULE), SelectionRule):
            options[_RULE] = {each.name: getattr(rule, each.name) for each in fields(rule) if each.init}
        for name, value in options.items():
            try:
                same = _as_tuples(json.loads(json.dumps(value, allow_nan=False))) == _as_tuples(value)
            except (TypeError, ValueError):
                same = False
            if not same:
                raise ValueError(f"router {self.name!r}: its option {name} = {value!r} cannot be written as JSON")
        return {
            "router": self.name,
            "class": self.class_path(),
            "hidden_size": self.hidden_size,
            "num_experts": self.num_experts,
            "top_k": self.top_k,
            "options": options,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RouterConfig:
        """The configuration that was written; sequences in its options come back as tuples.

        Raises:
            KeyError: something is missing.
        """
        options = {name: _as_tuples(value) for name, value in content["options"].items()} | dict(tensors)
        if isinstance(rule := options.get(_RULE), dict):
            options[_RULE] = SelectionRule(**rule)
        return cls(content["router"], content["hidden_size"], content["num_experts"], content["top_k"], options)


def is_same_class(present: str, saved: str) -> bool:
    """Whether two class paths name one router: this suite's own routers may have moved to another module since.

    Args:
        present: module and name of the class that is registered now.
        saved: module and name of the class when the router was saved.
    """
    own = all(path.startswith("routers.") for path in (present, saved))
    return present == saved or (own and present.rpartition(".")[2] == saved.rpartition(".")[2])


def _as_tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_as_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _as_tuples(item) for key, item in value.items()}
    return value
