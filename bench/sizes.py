"""The sizes that a run was asked for instead of its preset's: tokens, widths, experts, selection rule, dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

import torch

from bench.shapes import get_shape
from routers.selection import get_selection_rule

SEPARATOR = "@"
"""Stands between an input's name and the label of its sizes: `random@qwen3-next-T16-bfloat16`."""


@dataclass(frozen=True)
class DType:
    """What is computed in which dtype.

    Attributes:
        hidden_states: of the input and of the experts.
        router: of the router's parameters; a router casts what it is given to its own.
    """

    hidden_states: torch.dtype
    router: torch.dtype


DTYPES = {
    "float32": DType(torch.float32, torch.float32),
    "bfloat16": DType(torch.bfloat16, torch.bfloat16),
    "mixed": DType(torch.bfloat16, torch.float32),
}
"""By name: all in float32, all in bfloat16, and the router in float32 beside a model in bfloat16."""


@dataclass(frozen=True)
class Sizes:
    """What takes the place of a preset's own sizes; None leaves them.

    Attributes:
        shape: the name of the shape that they are from, or None.
        tokens: T.
        hidden_size: D.
        intermediate_size: I of each expert.
        num_experts: E.
        top_k: K.
        selection: the name of a selection rule.
        rule_fields: other values of the rule's fields.
        dtype: a name of `DTYPES`.
    """

    shape: str | None = None
    tokens: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_experts: int | None = None
    top_k: int | None = None
    selection: str | None = None
    rule_fields: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None

    @property
    def label(self) -> str:
        """What differs from the preset, in short: in the names of benchmarks and in the JSON."""
        letters = {"tokens": "T", "hidden_size": "D", "intermediate_size": "I", "num_experts": "E", "top_k": "K"}
        shape = get_shape(self.shape) if self.shape else None
        parts = [self.shape] if self.shape else []
        for name, letter in letters.items():
            value = getattr(self, name)
            if value is not None and value != getattr(shape, name, None):
                parts.append(f"{letter}{value}")
        if self.selection is not None and self.selection != getattr(shape, "selection", None):
            parts.append(self.selection)
        return "-".join([*parts, *([self.dtype] if self.dtype else [])])

    @property
    def changed(self) -> dict[str, int]:
        """The sizes of the router and of the experts that take the place of the preset's."""
        names = ("hidden_size", "intermediate_size", "num_experts", "top_k")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @classmethod
    def of_shape(cls, name: str) -> Sizes:
        """Those of a shape that ships."""
        shape = get_shape(name)
        return cls(
            shape=name,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_experts=shape.num_experts,
            top_k=shape.top_k,
            selection=shape.selection,
            rule_fields=dict(shape.rule_fields),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sizes:
        """What `dataclasses.asdict` has made a dictionary of."""
        return cls(**values)


NUMBERS = ("tokens", "hidden_size", "intermediate_size", "num_experts", "top_k")
"""The sizes that are numbers; each is an option by that name."""


def asked_sizes(shapes: Sequence[str], **values: str | None) -> tuple[Sizes, ...]:
    """The sizes that options ask for: every shape, or the preset's own, with every combination of the other values.

    Args:
        shapes: names of shapes that ship.
        **values: option -> its values, separated by commas, or None: those of `NUMBERS`, selection and dtype.

    Raises:
        ValueError: a value that is no number above 0, or an unknown shape, rule or dtype.
    """
    given = {name: list(_parsed(name, text)) for name, text in values.items() if text is not None}
    found = []
    for base in [Sizes.of_shape(shape) for shape in shapes] or [Sizes()]:
        for combination in product(*given.values()):
            changes = dict(zip(given, combination, strict=True))
            if "selection" in changes:
                changes["rule_fields"] = {}
            whole = {each.name: getattr(base, each.name) for each in fields(Sizes)} | changes
            found.append(Sizes(**whole))
    return _distinct(found)


def _distinct(found: list[Sizes]) -> tuple[Sizes, ...]:
    """Each once, in order; sizes of which nothing was asked are none."""
    return tuple({sizes.label: sizes for sizes in found if sizes.label}.values())


def _parsed(name: str, text: str) -> Iterator[Any]:
    option = "--" + name.replace("_", "-")
    for part in (part.strip() for part in text.split(",")):
        if name == "dtype" and part not in DTYPES:
            raise ValueError(f"{option} is {part!r}; there are: {', '.join(DTYPES)}")
        if name == "selection":
            get_selection_rule(part)
        if name in NUMBERS:
            if not part.isdecimal() or not part.isascii() or not 0 < int(part) < 2**40:
                raise ValueError(f"{option} is {part!r}, expected whole numbers from 1 to 2⁴⁰, separated by commas")
            yield int(part)
        else:
            yield part
