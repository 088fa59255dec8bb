"""The base of all records, and the kinds of value that their fields hold.

pydantic checks them: its errors name the whole path, keys of mappings included, and the value, so that one line can say
what is wrong (msgspec is faster and shows `[...]` for such a key), and it writes the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, Field, Strict

from reports.judging.intervals import Interval


class Record(BaseModel):
    """What a part of a JSON file says, checked; fields that are not known are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def mapping_in(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object among fields that nobody has checked; empty where there is none."""
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


@dataclass(frozen=True)
class _PositiveInterval(Interval):
    estimate: Positive
    low: Positive | None = None
    high: Positive | None = None


Ratio = Annotated[_PositiveInterval, AfterValidator(lambda found: Interval(found.estimate, found.low, found.high))]
"""A ratio of times with its interval; a bound that is absent or null does not exist."""
