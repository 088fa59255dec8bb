"""A format of another tool, and what is exported: the values that a run has, a sentence on those it has not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from reports.errors import ReportError
from reports.format.escape import one_line
from reports.history.metric import Metric
from reports.history.run import Run
from reports.judging.intervals import Interval
from reports.records.measurements import Measurement

EXPORTED = ("us_per_call", "ratio", "peak_memory")
"""What is exported unless something else is asked for."""


@dataclass(frozen=True)
class Value:
    """A metric of a benchmark, which has a value."""

    measurement: Measurement
    metric: Metric
    value: Interval

    @property
    def name(self) -> str:
        """The benchmark's, the same in every run: scenario, input and router, or the start inside a language model."""
        return one_line(self.measurement.name)


@dataclass(frozen=True)
class Format:
    """`FORMAT` of a module of this package, whose name is the word for it.

    Attributes:
        files: (run, its values, OUT) -> contents by names below the folder OUT, or by "" for the one file OUT.
        purpose: what reads it.
        out: what OUT is, in a word.
    """

    files: Callable[[Run, Sequence[Value], Path], dict[str, bytes]]
    purpose: str
    out: str


def formats() -> dict[str, Format]:
    """Those that there are, by name."""
    package = __package__ or ""
    modules = (module.name for module in iter_modules(import_module(package).__path__))
    found = {name: getattr(import_module(f"{package}.{name}"), "FORMAT", None) for name in modules}
    return {name: each for name, each in found.items() if isinstance(each, Format)}


def values_of(run: Run, metrics: Sequence[Metric]) -> tuple[list[Value], list[str]]:
    """Every value that exists, and what is left out, a sentence a metric; no two may go by one name."""
    values, missing = [], Counter[str]()
    for measurement in run.measurements:
        for metric in metrics:
            found = metric.of(measurement)
            if found is None:
                missing[metric.name] += 1
            else:
                values.append(Value(measurement, metric, found))
    _expect_unique(values)
    return values, list(_left_out(missing))


def _left_out(missing: Counter[str]) -> Iterator[str]:
    reasons = {"ratio": "the baseline's to itself is 1"}
    for name, number in missing.items():
        benchmarks = "benchmark" if number == 1 else "benchmarks"
        yield f"{name} of {number:,} {benchmarks} left out: {reasons.get(name, 'the file has no value')}."


def _expect_unique(values: Sequence[Value]) -> None:
    names = Counter((value.name, value.metric.name) for value in values)
    (name, _), number = names.most_common(1)[0] if names else (("", ""), 1)
    if number > 1:
        raise ReportError(f"{number} benchmarks go by the name {name!r}, once what cannot be seen is left out of it")
