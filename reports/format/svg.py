"""Hand-made SVG: elements with escaped texts, and logarithmic axes; colours are the page's variables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import escape

from reports.format.escape import one_line

# Multiples of ten's powers that look even on a logarithmic axis, the most first.
_STEPS = ((1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))


def element(name: str, *content: str, **attributes: object) -> str:
    """`<name ...>content</name>`; the content is markup already, an attribute's `_` is a `-`."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{said}>{''.join(content)}</{name}>" if content else f"<{name}{said}/>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """A line of text, escaped, in the page's ink."""
    return element("text", str(escape(one_line(words))), **{"x": x, "y": y, "fill": "var(--ink)", **attributes})


def title(words: str) -> str:
    """What a pointer that rests on the element around it shows."""
    return element("title", str(escape(one_line(words))))


def path(points: Iterable[str], **attributes: object) -> str:
    """A path of such commands as `M1 2`; without any, nothing."""
    commands = "".join(points)
    return element("path", d=commands, **attributes) if commands else ""


def _short(value: object) -> object:
    """A coordinate to a tenth: the page may hold ten thousand of them."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


_ALIKE = 1e-6
"""Values that differ by less, as a share of themselves, have no ticks between them that could be told apart."""


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis: values from `low` to `high` are drawn from `start` to `end`, those outside at its ends."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values along it, at most so many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        choices = [
            [value for d in decades for step in steps if self.low <= (value := step * 10.0**d) <= self.high]
            for steps in _STEPS
        ]
        if self.high < 10 * self.low:
            choices.append(_even(self.low, self.high, most))
        few = [found for found in choices if 0 < len(found) <= most]
        return max(few, key=len) if few else choices[-1][:: math.ceil(len(choices[-1]) / most) or 1]


@dataclass(frozen=True)
class LinearAxis:
    """As `LogAxis`, with even steps: for values that may be zero or below."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values along it, at most so many."""
        return _even(self.low, self.high, most)


def _even(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    width = high - low
    size = 10.0 ** math.floor(math.log10(width / most))
    step = next(step * size for step in (1, 2, 5, 10, 20) if width / (step * size) <= most)
    return [place * step for place in range(math.ceil(low / step), math.floor(high / step * (1 + 1e-12)) + 1)]


def linear_axis(values: Iterable[float], start: float, end: float) -> LinearAxis:
    """An axis that holds these values with a little room, and with much where they are alike but for rounding."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    size = max(abs(low), abs(high))
    room = 0.1 * (high - low if high - low > _ALIKE * size else size) or 1.0
    return LinearAxis(low - room, high + room, start, end)


def log_axis(values: Iterable[float], start: float, end: float, *, least: float = 1.1) -> LogAxis:
    """An axis that holds these positive values with a little room, and spans a factor of at least `least`."""
    known = [value for value in values if 0 < value < math.inf]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    room = max(math.log(least) - math.log(high / low), 0.1 * math.log(high / low)) / 2
    return LogAxis(low * math.exp(-room), high * math.exp(room), start, end)
