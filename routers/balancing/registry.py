"""Balancers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from routers.balancing.balancer import Balancer

BalancerClass = TypeVar("BalancerClass", bound=type[Balancer])

_classes: dict[str, type[Balancer]] = {}


def register_balancer(name: str) -> Callable[[BalancerClass], BalancerClass]:
    """Class decorator: makes a balancer known under a name.

    Raises:
        ValueError: the name is taken by another class.
    """

    def register(balancer_class: BalancerClass) -> BalancerClass:
        if _classes.setdefault(name, balancer_class) is not balancer_class:
            raise ValueError(f"balancer {name!r} is already registered, as {_classes[name].__qualname__}")
        return balancer_class

    return register


def list_balancers() -> list[str]:
    """All names, sorted."""
    return sorted(_classes)


def get_balancer_class(name: str) -> type[Balancer]:
    """The class behind a name.

    Raises:
        ValueError: unknown name; the message lists those that exist.
    """
    if name not in _classes:
        raise ValueError(f"unknown balancer {name!r}; there are: {', '.join(list_balancers())}")
    return _classes[name]


def create_balancer(name: str, routers: Mapping[str, nn.Module], **options: Any) -> Balancer:
    """Make a balancer by name.

    Args:
        name: one of `list_balancers()`.
        routers: name -> a router whose load is balanced.
        **options: the balancer's own, and `processes`.

    Raises:
        ValueError: unknown name, a value that the balancer refuses, or a router that it cannot balance.
        TypeError: an option that the balancer does not have.
    """
    return get_balancer_class(name)(routers, **options)
