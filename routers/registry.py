"""The names under which routers are known: the package's own, those of installed packages, those a user passes."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from routers.base import Router

ENTRY_POINT_GROUP = "moe_routers"
LONGEST_NAME = 200
"""Of a router, in characters: no table shows a longer one."""

ALL = "all"
RESERVED = (ALL, "stock")
"""Names that stand for something else wherever a router is named: every router, and a model's own gates."""

RouterClass = TypeVar("RouterClass", bound=type[Router])

_classes: dict[str, type[Router]] = {}
_asked_for: set[str] = set()


def register_router(name: str) -> Callable[[RouterClass], RouterClass]:
    """Class decorator: makes a router known under a name.

    Raises:
        ValueError: the name is taken by another class, reserved, or cannot stand in a test id and in a table.
        TypeError: the class is no Router.
    """
    if len(name) > LONGEST_NAME:
        raise ValueError(f"router name {name[:40]!r}... has {len(name)} characters, at most {LONGEST_NAME} are allowed")
    _refuse_reserved(name)
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        raise ValueError(f"router name {name!r} must consist of letters, digits, '_' and '.'")

    def register(router_class: RouterClass) -> RouterClass:
        if not (isinstance(router_class, type) and issubclass(router_class, Router)):
            raise TypeError(f"router {name!r}: {router_class!r} is not a subclass of routers.Router")
        known = _classes.get(name)
        if known is not None and known is not router_class:
            raise ValueError(f"router {name!r} is already registered, as {known.__module__}.{known.__qualname__}")
        _classes[name] = router_class
        return router_class

    return register


@contextmanager
def restored_registry() -> Iterator[None]:
    """A context manager at whose end the registered routers are those of its beginning, whatever was registered."""
    before, asked_for = dict(_classes), set(_asked_for)
    try:
        yield
    finally:
        _classes.clear()
        _classes.update(before)
        _asked_for.clear()
        _asked_for.update(asked_for)


@contextmanager
def temporary_router(name: str, router_class: type[Router]) -> Iterator[None]:
    """A context manager in which a router is registered under a name, in place of any other of that name.

    Raises:
        ValueError: the name is reserved, or cannot stand in a test id.
        TypeError: the class is no Router.
    """
    with restored_registry():
        _classes.pop(name, None)
        register_router(name)(router_class)
        yield


def list_routers(*, every: bool = False, token_choice: bool = False) -> list[str]:
    """The names of the routers that are measured, sorted: registered ones and entry points of installed packages.

    Args:
        every: those too that are measured only where they are named (`Router.measured_by_default`).
        token_choice: not those whose routing is of another kind, but for what an entry point brings and nobody has
            loaded yet.

    Raises:
        ValueError: an installed package's entry point has a reserved name.
    """
    found = {name for name, known in _classes.items() if every or known.measured_by_default or name in _asked_for}
    found |= _entry_points().keys()
    return sorted(name for name in found if not token_choice or name not in _classes or _classes[name].is_token_choice)


def ask_for(name: str) -> None:
    """Have `list_routers` name a router that is not measured unasked; "all" for all of them.

    Raises:
        ValueError: unknown name.
    """
    names = list_routers(every=True) if name == ALL else [name]
    for each in names:
        get_router_class(each)
    _asked_for.update(names)


def get_router_class(name: str) -> type[Router]:
    """The class behind a name.

    Raises:
        ValueError: unknown name (the message lists those that exist), or an entry point that cannot be loaded.
    """
    if name not in _classes:
        entry_point = _entry_points().get(name)
        if entry_point is None:
            raise ValueError(f"unknown router {name!r}; there are: {', '.join(list_routers(every=True))}")
        try:
            loaded = entry_point.load()
        except Exception as error:
            raise ValueError(f"router {name!r}: entry point {entry_point.value} cannot be loaded: {error!r}") from error
        try:
            register_router(name)(loaded)
        except TypeError as error:
            raise ValueError(str(error)) from error
    return _classes[name]


def class_path(router_class: type) -> str:
    """Module and name of a class, as results and saved routers state it."""
    return f"{router_class.__module__}.{router_class.__qualname__}"


def create_router(name: str, *, hidden_size: int, num_experts: int, top_k: int, **options: Any) -> Router:
    """Make a router by name.

    Args:
        name: one of `list_routers()`.
        hidden_size: D.
        num_experts: E.
        top_k: K.
        **options: the variant's own, and those of `Router`: norm_topk_prob, straight_through, check_finite.

    Raises:
        ValueError: unknown name or a value that the variant refuses.
        TypeError: an option that the variant does not have.

    Examples:
        >>> import torch
        >>> router = create_router("linear", hidden_size=64, num_experts=8, top_k=2)
        >>> routing = router(torch.randn(10, 64))
        >>> routing.selected_experts.shape, int(routing.tokens_per_expert.sum())
        (torch.Size([10, 2]), 20)
    """
    return get_router_class(name)(hidden_size=hidden_size, num_experts=num_experts, top_k=top_k, **options)


def register_from_path(target: str) -> str:
    """Register a router named as `package.module:Class` or `path/to/file.py:Class`.

    A class that registers itself (with `@register_router`) keeps its name, another is named after the class,
    `MyMLPRouter` becoming `my_mlp_router`.

    Returns:
        the name.

    Raises:
        ValueError: wrong form, module or class not found, name taken.
    """
    location, separator, class_name = target.rpartition(":")
    if not separator or not location or not class_name:
        raise ValueError(f"router {target!r} must have the form package.module:Class or path/to/file.py:Class")
    try:
        module = _module_from_file(Path(location)) if location.endswith(".py") else importlib.import_module(location)
    except Exception as error:
        raise ValueError(f"router {target!r}: {location} cannot be imported: {error!r}") from error
    router_class = getattr(module, class_name, None)
    if router_class is None:
        raise ValueError(f"router {target!r}: {location} has no {class_name}")
    for name, known in _classes.items():
        if known is router_class:
            return name
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()
    try:
        register_router(name)(router_class)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return name


def _entry_points() -> dict[str, EntryPoint]:
    found = {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}
    for name, entry_point in found.items():
        _refuse_reserved(name, f" (entry point {entry_point.value} of an installed package)")
    return found


def _refuse_reserved(name: str, where: str = "") -> None:
    if name in RESERVED:
        raise ValueError(
            f"router name {name!r} is reserved: it stands for something else where routers are named{where}"
        )


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    # Pickling, dataclasses and inspect look a class's module up by name: each file has one of its own, and a name that
    # is taken is not overwritten. A dot would stand for a package.
    stem = name = path.stem.replace(".", "_")
    numbers = count(2)
    while _file_of(name) not in {None, str(path.resolve())}:
        name = f"{stem}_{next(numbers)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # Half a module must not be found by the next call.
        sys.modules.pop(name, None)
        raise
    return module


def _file_of(module: str) -> str | None:
    """Of a module that is imported or can be, by its name without dots; None if there is none, "" if it is no file."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    spec = importlib.util.find_spec(module)
    return None if spec is None else spec.origin or ""
