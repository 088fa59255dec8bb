"""The base of all records, and the kinds of value that their fields hold.

pydantic checks them: its errors name the whole path, keys of mappings included, and the value, so that one line can say
what is wrong (msgspec is faster and shows `[...]` for such a key), and it writes the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from reports.judging.intervals import Interval
from reports.records.rules import outside


class Record(BaseModel):
    """What a part of a JSON file says, checked; fields that are not known are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def contradictions(self) -> Iterator[str | None]:
        """The record's rules: for each what the fields say against it, in words that begin with a path, or None."""
        yield from ()

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        for words in self.contradictions():
            refuse(words)
        return self


def refuse(words: str | None) -> None:
    """Lets pydantic complain about a contradiction, if there is one; it knows the record's own path."""
    if words:
        raise PydanticCustomError("contradiction", "{words}", {"words": words})


def expect_length(path: str, items: Sized, length: int) -> None:
    """Lets pydantic complain about a list of another length."""
    if len(items) != length:
        message = "{path} has {found} items instead of {length}"
        raise PydanticCustomError("length", message, {"path": path, "found": len(items), "length": length})


def mapping_in(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object among fields that nobody has checked; empty where there is none."""
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), Field(max_length=200)]
"""Of what a table has a row or a heading for."""
Case = Annotated[str, Strict(), Field(max_length=700)]
"""Of a benchmark: names of its scenario, its input and its router."""
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Size = Annotated[Count, Field(gt=0)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Amount = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


@dataclass(frozen=True)
class _PositiveInterval(Interval):
    estimate: Positive
    low: Positive | None = None
    high: Positive | None = None


def _interval(found: _PositiveInterval) -> Interval:
    between = f"[{found.low}, {found.high}], its interval"
    refuse(
        outside("low", found.low, None, found.high, between)
        or outside("estimate", found.estimate, found.low, found.high, between)
    )
    return Interval(found.estimate, found.low, found.high)


Ratio = Annotated[_PositiveInterval, AfterValidator(_interval)]
"""A ratio of times with its interval; a bound that is absent or null does not exist."""
