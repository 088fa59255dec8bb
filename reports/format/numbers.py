"""How a number is written for a reader; a number that does not exist is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any

Show = Callable[..., str]
DASH = "–"
_UNITS = (("µs", 1.0), ("ms", 1e3), ("s", 1e6))
# Larger whole numbers are no counts: beyond this a float skips some.
_WHOLE = 2**53
# What would be written so from three digits on.
_MILLION = 999_999.5
# Smaller powers of ten are no floats.
_LEAST_EXPONENT = -300
# How many more a difference may have than its column.
_MORE_DECIMALS = 3


def missing(value: Any) -> bool:
    """None, or the NaN that pandas makes of it in a column of numbers."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str:
    """Words as they are."""
    return DASH if missing(value) else str(value)


def count(value: Any) -> str:
    """A whole number in groups of three, while it can be a count."""
    if missing(value) or abs(value) >= _WHOLE:
        return significant(value)
    return f"{int(value):,}"


def fixed(decimals: int, *, signed: bool = False) -> Show:
    """So many decimals, with a true minus sign, and no “−0.00”."""
    return by_format(f"{'+' if signed else ''}z.{decimals}f")


def by_format(specification: str) -> Show:
    """As a format specification such as `.3f` or `.1%` says, with a true minus sign; a million and more shortly."""
    factor, unit = (100, " %") if specification.endswith("%") else (1, "")

    def show(value: Any) -> str:
        if missing(value) or abs(value) >= _MILLION / factor:
            return DASH if missing(value) else significant(factor * value) + unit
        return f"{value + 0.0:{specification}}".replace("-", "−").replace("%", " %")

    return show


def significant(value: Any) -> str:
    """Three significant digits, without exponents between a thousandth and a million: at most ten characters."""
    if missing(value):
        return DASH
    return ("−" if value < 0 else "") + _digits(abs(value))


def _digits(size: float) -> str:
    if size == 0:
        return "0"
    if size >= _MILLION:
        mantissa, _, exponent = f"{_decimal(size):.2e}".partition("e+")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if size >= 99.95:
        return f"{size:,.0f}"
    for bound, decimals in ((9.995, 1), (0.9995, 2), (0.09995, 3), (0.009995, 4)):
        if size >= bound:
            return f"{size:.{decimals}f}"
    return f"{size:.3g}"


def _decimal(value: float) -> float | Decimal:
    """Something that can be formatted: a whole number may be larger than every float."""
    return Decimal(value) if isinstance(value, int) else value


def mebibytes(value: Any) -> str:
    """Bytes in MiB."""
    return DASH if missing(value) else significant(value / (1 << 20))


def percent(value: Any) -> str:
    """A share of one, in per cent."""
    return by_format(".1%")(value)


def duration(us: Any) -> str:
    """A time given in microseconds, in the unit that suits it, with three significant digits."""
    if missing(us):
        return DASH
    # 999.5 is where three digits would become a thousand of the smaller unit.
    unit, size = next((u for u in _UNITS if us < 999.5 * u[1]), _UNITS[-1])
    return f"{significant(us / size)} {unit}"


def ratio(value: Any) -> str:
    """A ratio near one to a thousandth; far from one three digits say enough."""
    return fixed(3)(value) if missing(value) or 0.0995 <= value < 9.995 else significant(value)


def within(value: Any) -> str:
    """A share of one by which something may miss, `±0.4 %`, with two significant digits."""
    if missing(value):
        return DASH
    return f"±{100 * value:.2g} %" if 100 * value < 99.5 else f"±{significant(100 * value)} %"


def exact(value: Any) -> str:
    """A whole number in full, any other with six significant digits."""
    if missing(value):
        return DASH
    text = f"{int(value):,}" if value == int(value) and abs(value) < _WHOLE else f"{_decimal(value):.6g}"
    return text.replace("-", "−")


def bounds(show: Show) -> Show:
    """An interval's two ends."""

    def show_bounds(low: Any, high: Any) -> str:
        return DASH if missing(low) or missing(high) else f"[{show(low)}, {show(high)}]"

    return show_bounds


def interval(show: Show) -> Show:
    """An estimate and its interval."""

    def show_interval(estimate: Any, low: Any, high: Any) -> str:
        if missing(estimate):
            return DASH
        return show(estimate) if missing(low) or missing(high) else f"{show(estimate)} {bounds(show)(low, high)}"

    return show_interval


def spread(show: Show) -> Show:
    """A mean and its standard deviation; `1.23 ± 0.04`."""

    def show_spread(mean: Any, sd: Any) -> str:
        return show(mean) if missing(mean) or missing(sd) else f"{show(mean)} ± {show(sd)}"

    return show_spread


def percents(mean: Any, sd: Any) -> str:
    """A share's mean and its standard deviation with one sign for both: `16.2 ± 1.1 %`."""
    return spread_of(".1%")(mean, sd)


def share_interval(estimate: Any, low: Any, high: Any) -> str:
    """A share and its interval with one sign for the three: `0.30 [0.19, 0.40] %`."""
    if missing(estimate) or missing(low) or missing(high):
        return by_format(".2%")(estimate)
    return f"{interval(fixed(2))(100 * estimate, 100 * low, 100 * high)} %"


def spread_of(specification: str) -> Show:
    """A mean and its standard deviation as a format specification says, with one sign for both of a share."""
    if not specification.endswith("%"):
        return spread(by_format(specification))
    alone, both = by_format(specification), spread(by_format(f"{specification[:-1]}f"))

    def show(mean: Any, sd: Any) -> str:
        return alone(mean) if missing(mean) or missing(sd) else f"{both(100 * mean, 100 * sd)} %"

    return show


def scientific_spread(mean: Any, sd: Any) -> str:
    """A mean and its standard deviation over one power of ten, `(2.15 ± 0.19)e-3`, for a column of many magnitudes."""
    if missing(mean):
        return DASH
    if mean == 0:
        return "0"
    exponent = max(math.floor(math.log10(abs(mean))), _LEAST_EXPONENT)
    # What would be written 10.00 is 1.00 of the next power.
    exponent += abs(mean) / 10.0**exponent >= 9.995
    scaled = spread(fixed(2))(mean / 10.0**exponent, None if missing(sd) else sd / 10.0**exponent)
    return f"({scaled})e{exponent}" if " " in scaled else f"{scaled}e{exponent}"


def difference(decimals: int) -> Show:
    """A signed difference and its interval, with so many decimals, or more where the interval would vanish in them.

    What is zero in so many decimals at both ends is said to be smaller than one of the last: `< 0.0001`.
    """

    def show(estimate: Any, low: Any, high: Any) -> str:
        if missing(estimate):
            return DASH
        ends = [value for value in (estimate, low, high) if not missing(value)]
        largest = max(map(abs, ends))
        if largest == 0:
            return "0"
        if largest < 0.5 * 10.0**-decimals:
            return f"< {10.0**-decimals:.{decimals}f}"
        reach = (max(ends) - min(ends)) / 2
        narrow = 0 < reach < 2 * 10.0**-decimals
        # Two significant digits of the half-width.
        needed = min(1 - math.floor(math.log10(reach)), decimals + _MORE_DECIMALS) if narrow else decimals
        return interval(fixed(needed, signed=True))(estimate, low, high)

    return show


def sentence(text: str) -> str:
    """Words from a file as a sentence, with capital and full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def some_of(names: Sequence[str], everyone: Collection[str], what: str = "routers") -> str:
    """`all 9 routers`, `all but a and b` where those are few, or else the names."""
    absent = [name for name in everyone if name not in names]
    if not absent and len(names) > 2:
        return f"all {len(names)} {what}"
    return f"all but {listing(absent)}" if absent and 2 * len(absent) < len(names) else listing(list(names))


def listing(names: list[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
