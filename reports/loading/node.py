"""A JSON value that knows where in the document it stands, so that a complaint about it can say so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from reports.errors import ReportError
from reports.judging.intervals import Interval


class Node:
    """One value of a parsed JSON document and the path that leads to it."""

    def __init__(self, value: Any, path: str = ""):
        self.value = value
        self.path = path

    def fault(self, reason: str) -> ReportError:
        """The error to raise about this value."""
        return ReportError(f"{self.path or 'the document'} {reason}")

    def __getitem__(self, key: str) -> Node:
        fields = self._expect(dict, "an object")
        if key not in fields:
            raise self.fault(f"has no field {key!r}")
        return Node(fields[key], f"{self.path}.{key}" if self.path else key)

    def get(self, key: str) -> Node | None:
        """The field, or None where it is absent or null."""
        return None if self._expect(dict, "an object").get(key) is None else self[key]

    def __iter__(self) -> Iterator[Node]:
        for index, value in enumerate(self._expect(list, "a list")):
            yield Node(value, f"{self.path}[{index}]")

    def items(self) -> Iterator[tuple[str, Node]]:
        """Names and values of an object."""
        for key in self._expect(dict, "an object"):
            yield key, self[key]

    def fields(self) -> dict[str, Any]:
        """The object itself, for what is shown as it is."""
        return dict(self._expect(dict, "an object"))

    def text(self) -> str:
        """A string."""
        return str(self._expect(str, "a string"))

    def number(self) -> float:
        """A finite number; `1e999` is valid JSON and infinite."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.fault(f"is not a number: {self._excerpt()}")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.fault("is not a finite number")
        return number

    def positive(self) -> float:
        """A number above zero: a time or a ratio of times."""
        number = self.number()
        if number <= 0:
            raise self.fault(f"is not above zero: {self._excerpt()}")
        return number

    def share(self) -> float:
        """A number from zero to one."""
        number = self.number()
        if not 0 <= number <= 1:
            raise self.fault(f"is not between 0 and 1: {self._excerpt()}")
        return number

    def optional(self) -> float | None:
        """A finite number, or None where the JSON says null."""
        return None if self.value is None else self.number()

    def flag(self) -> bool:
        """True or false."""
        return bool(self._expect(bool, "true or false"))

    def count(self) -> int:
        """A whole number from zero up."""
        number = self.number()
        if number < 0 or number != int(number):
            raise self.fault(f"is not a count: {self._excerpt()}")
        return int(self.value)  # not of the float, which has lost the last digits of a large seed

    def ratio(self) -> Interval:
        """A ratio of times with its interval; a bound that is absent or null does not exist."""
        low, high = self.get("low"), self.get("high")
        return Interval(self["estimate"].positive(), low.positive() if low else None, high.positive() if high else None)

    def numbers(self, length: int | None = None) -> tuple[float, ...]:
        """A list of finite numbers, of one length where the contract gives it."""
        return tuple(item.number() for item in self.exactly(length))

    def exactly(self, length: int | None) -> list[Node]:
        """The list's items, after a check of how many there are."""
        items = list(self)
        if length is not None and len(items) != length:
            raise self.fault(f"has {len(items)} items instead of {length}")
        return items

    def _expect(self, kind: type, called: str) -> Any:
        if not isinstance(self.value, kind):
            raise self.fault(f"is not {called}: {self._excerpt()}")
        return self.value

    def _excerpt(self) -> str:
        shown = repr(self.value)
        return shown if len(shown) <= 40 else shown[:37] + "..."
