"""Hand-made SVG: elements with escaped texts, and logarithmic axes; colours are the page's variables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import escape

from reports.format.escape import one_line

_STEPS = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
# Ticks of a narrow axis are multiples of one of these.
_FINE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def element(name: str, *content: str, **attributes: object) -> str:
    """`<name ...>content</name>`; the content is markup already, an attribute's `_` is a `-`."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{said}>{''.join(content)}</{name}>" if content else f"<{name}{said}/>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """A line of text, escaped, in the page's ink."""
    return element("text", str(escape(one_line(words))), **{"x": x, "y": y, "fill": "var(--ink)", **attributes})


def path(points: Iterable[str], **attributes: object) -> str:
    """A path of such commands as `M1 2`; without any, nothing."""
    commands = "".join(points)
    return element("path", d=commands, **attributes) if commands else ""


def _short(value: object) -> object:
    """A coordinate to a tenth: the page may hold ten thousand of them."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


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
        if self.high < 2 * self.low:
            width = self.high - self.low
            step = next((step for step in self._steps() if width / step <= most), width)
            first = math.ceil(self.low / step)
            return [count * step for count in range(first, math.floor(self.high / step * (1 + 1e-12)) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in (_STEPS[:-1], (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [value for d in decades for step in steps if self.low <= (value := step * 10.0**d) <= self.high]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]

    def _steps(self) -> Iterable[float]:
        size = 10.0 ** math.floor(math.log10(self.high))
        return (step * size for step in _FINE)


def log_axis(values: Iterable[float], start: float, end: float, *, least: float = 1.1) -> LogAxis:
    """An axis that holds these positive values with a little room, and spans a factor of at least `least`."""
    known = [value for value in values if 0 < value < math.inf]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    room = max(math.log(least) - math.log(high / low), 0.1 * math.log(high / low)) / 2
    return LogAxis(low * math.exp(-room), high * math.exp(room), start, end)
