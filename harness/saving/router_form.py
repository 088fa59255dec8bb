"""What the JSON file of saved routers has to hold, said as data, and where a content departs from it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

SHARED = "same_as"
"""In place of a router's own description: the path of the block whose router this one shares."""


class Form(Protocol):
    """What a value has to be."""

    def misfits(self, place: str, value: Any) -> Iterator[str]:
        """A phrase for each departure of the value at a place."""


@dataclass(frozen=True)
class Value(Form):
    """A value that is what `holds` says."""

    expected: str
    holds: Callable[[Any], bool]

    def misfits(self, place: str, value: Any) -> Iterator[str]:
        """See `Form`."""
        if not self.holds(value):
            yield f"{place} is {reprlib.repr(value)}, expected {self.expected}"


@dataclass(frozen=True)
class Fields(Form):
    """An object with these fields, and whatever others."""

    forms: Mapping[str, Form]

    def misfits(self, place: str, value: Any) -> Iterator[str]:
        """See `Form`."""
        yield from OBJECT.misfits(place, value)
        if isinstance(value, dict):
            for name, form in self.forms.items():
                below = f"{place}.{name}".removeprefix(".")
                yield from form.misfits(below, value[name]) if name in value else (f"{below} is missing",)


@dataclass(frozen=True)
class Each(Form):
    """An object whose values are all of one form; `least` of them or more."""

    form: Form
    least: int = 1

    def misfits(self, place: str, value: Any) -> Iterator[str]:
        """See `Form`."""
        yield from OBJECT.misfits(place, value)
        if isinstance(value, dict):
            if len(value) < self.least:
                yield f"{place} is empty"
            for name, each in value.items():
                yield from self.form.misfits(f"{place}.{name}", each)


@dataclass(frozen=True)
class Layer(Form):
    """A router's description, or the path of the block whose router it shares."""

    own: Form
    shared: Form

    def misfits(self, place: str, value: Any) -> Iterator[str]:
        """See `Form`."""
        form = self.shared if isinstance(value, dict) and SHARED in value else self.own
        return form.misfits(place, value)


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_floating_dtype(value: Any) -> bool:
    dtype = getattr(torch, value, None) if isinstance(value, str) else None
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point


def _is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(holds, value))


OBJECT = Value("an object", lambda value: isinstance(value, dict))
TEXT = Value("a string", lambda value: isinstance(value, str))
SIZE = Value("a positive integer", _is_size)
SIZE_OR_NONE = Value("a positive integer or null", lambda value: value is None or _is_size(value))
NUMBER = Value("a finite number", _is_number)
DTYPE = Value(
    "the name of a floating dtype of torch, or null", lambda value: value is None or _is_floating_dtype(value)
)
SHAPE = Value("a list of sizes", _is_list_of(_is_size))
# Infinities are written as text.
VALUES = Value("a list of numbers", _is_list_of(lambda value: isinstance(value, str) or _is_number(value)))

ROUTERS = Fields(
    {
        "model": Fields(
            {
                "model_type": TEXT,
                "hidden_size": SIZE,
                "num_hidden_layers": SIZE_OR_NONE,
                "num_experts": Each(SIZE),
                "sample": Each(Fields({"shape": SHAPE, "values": VALUES})),
            }
        ),
        "layers": Each(
            Layer(
                own=Fields(
                    {
                        "router": TEXT,
                        "class": TEXT,
                        "hidden_size": SIZE,
                        "num_experts": SIZE,
                        "top_k": SIZE,
                        "options": OBJECT,
                        "scaling": NUMBER,
                        "dtype": DTYPE,
                    }
                ),
                shared=Fields({SHARED: TEXT}),
            )
        ),
        "companions": Each(TEXT, least=0),
        "weights": Fields({"file": TEXT, "sha256": TEXT}),
        "tensors": OBJECT,
    }
)


def misfits(content: Any) -> list[str]:
    """Where a content is not that of saved routers, a phrase for each place."""
    found = list(ROUTERS.misfits("", content))
    if found:
        return found
    layers, tensors = content["layers"], content["tensors"]
    owners = [path for path, layer in layers.items() if SHARED not in layer]
    found = [
        f"layers.{path}.{SHARED} is {layer[SHARED]!r}, expected the path of a layer with a router of its own"
        for path, layer in layers.items()
        if SHARED in layer and layer[SHARED] not in owners
    ]
    prefixes = tuple(f"{path}." for path in owners)
    return found + [f"tensors.{key}: belongs to no layer" for key in tensors if not key.startswith(prefixes)]
