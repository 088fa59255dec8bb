"""The series: a benchmark's metric over the runs of one machine and setting, with the steps in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

from reports.history.metric import Metric
from reports.history.run import Conditions, Run
from reports.history.steps import Step, find_steps, first_p, level_of
from reports.judging.intervals import Interval, t_quantile
from reports.records.measurements import Measurement

# A figure near zero may differ by so much.
_NOTHING = 1e-7


@dataclass(frozen=True, eq=False)
class Point:
    """A run's value."""

    run: Run
    value: Interval
    error: float | None
    """Standard error of the value's logarithm, from its interval."""


@dataclass(frozen=True)
class Change:
    """A step of a series.

    Attributes:
        before: the last run before it.
        after: the first run after it.
        was: the level before.
        is_: the level after.
        ratio: after / before with its 95 % interval; None where that does not exist.
    """

    before: Point
    after: Point
    was: float
    is_: float
    ratio: Interval | None

    @property
    def size(self) -> float:
        """How large it is, up or down, for an order."""
        if self.ratio is None:
            return math.inf
        return abs(math.log(self.ratio.estimate))


@dataclass(frozen=True, eq=False)
class Series:
    """A metric of a benchmark over the runs.

    Attributes:
        metric: what is followed.
        benchmark: the benchmark's name.
        group: scenario and input, for a heading.
        router: its name.
        label: router, and its start inside a language model, for a drawing below that heading.
        conditions: machine and setting.
        detail: what else keeps it apart from others of that name, as words; empty where nothing does.
        points: in the order of the runs.
        changes: the steps found.
    """

    metric: Metric
    benchmark: str
    group: str
    router: str
    label: str
    conditions: Conditions
    detail: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """Benchmark and metric."""
        return f"{self.benchmark}: {self.metric.label}" + (f" ({self.detail})" if self.detail else "")


def series_of(runs: Sequence[Run], metrics: Sequence[Metric]) -> list[Series]:
    """Every series of the runs, in order of appearance; what was measured at other sizes is another one."""
    found: dict[tuple[object, ...], tuple[Metric, Run, Measurement, list[Point]]] = {}
    for metric, run in product(metrics, runs):
        for measurement in run.measurements:
            value = metric.of(measurement)
            if value is None or not math.isfinite(value.estimate):
                continue
            kept = metric.name, run.conditions, measurement.name, _sizes(measurement), metric.detail(measurement)
            entry = found.setdefault(kept, (metric, run, measurement, []))
            entry[3].append(Point(run, value, _error(value, measurement)))
    several = _several(found)
    return [
        Series(
            metric=metric,
            benchmark=measurement.name,
            group=" | ".join(measurement.name.split(" | ")[:2]),
            router=measurement.router,
            label=measurement.name.split(" | ", 2)[-1],
            conditions=run.conditions,
            detail=_words(measurement) if key[:3] in several else "",
            points=tuple(points),
        )
        for key, (metric, run, measurement, points) in found.items()
    ]


def _several(keys: Iterable[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """The names that stand for more than one series on a machine."""
    seen: set[tuple[object, ...]] = set()
    return {key[:3] for key in keys if key[:3] in seen or seen.add(key[:3])}  # type: ignore[func-returns-value]


def _sizes(measurement: Measurement) -> tuple[object, ...]:
    setting = {name: value for name, value in measurement.setting.items() if isinstance(value, str | int | None)}
    return (*measurement.sizes.items(), *setting.items(), ("baseline", measurement.timing.baseline))


def _words(measurement: Measurement) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in measurement.sizes.items())


def _error(value: Interval, measurement: Measurement) -> float | None:
    """Of the logarithm: the interval is Student's t over as many processes as there were."""
    processes = len(measurement.timing.process_us)
    if processes < 2 or not value.low or not value.high or value.low <= 0:
        return None
    return math.log(value.high / value.low) / 2 / t_quantile(processes - 1)


def with_steps(series: Sequence[Series]) -> list[Series]:
    """The same with their steps: of times, found among all of a machine's together; of figures, every change."""
    timed = [each for each in series if each.metric.tolerance is None]
    levels: dict[tuple[str, Conditions], float] = {}
    for family in dict.fromkeys((each.metric.name, each.conditions) for each in timed):
        of = [each for each in timed if (each.metric.name, each.conditions) == family]
        levels[family] = level_of([first_p(*_logs(each)) for each in of])
    return [
        replace(each, changes=tuple(_moved(each, each.metric.tolerance)))
        if each.metric.tolerance is not None
        else replace(each, changes=tuple(_stepped(each, levels[each.metric.name, each.conditions])))
        for each in series
    ]


def _logs(series: Series) -> tuple[list[float], list[float | None]]:
    return [math.log(point.value.estimate) for point in series.points], [point.error for point in series.points]


def _stepped(series: Series, level: float) -> Iterable[Change]:
    if not level:
        return
    for step in find_steps(*_logs(series), level):
        yield _change(series, step)


def _change(series: Series, step: Step) -> Change:
    bounds = [step.change.estimate, step.change.low, step.change.high]
    ratio = Interval(*(None if each is None else math.exp(each) for each in bounds))  # type: ignore[arg-type]
    before, after = series.points[step.place - 1], series.points[step.place]
    return Change(before, after, math.exp(step.before), math.exp(step.after), ratio)


def _moved(series: Series, tolerance: float) -> Iterable[Change]:
    """Between any two runs in a row: what is no time does not scatter."""
    for before, after in pairwise(series.points):
        old, new = before.value.estimate, after.value.estimate
        if not math.isclose(old, new, rel_tol=tolerance, abs_tol=_NOTHING * bool(tolerance)):
            ratio = Interval(new / old) if old > 0 and new > 0 else None
            yield Change(before, after, old, new, ratio)
