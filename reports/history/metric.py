"""What is followed over the runs: two kinds of time, and every figure that should not change at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.errors import ReportError
from reports.format.numbers import Show, by_format, count, duration, mebibytes, ratio, significant
from reports.history.run import Run
from reports.judging.intervals import Interval, mean_interval
from reports.records.measurements import Measurement


@dataclass(frozen=True)
class Metric:
    """A figure of a benchmark.

    Attributes:
        name: as `--metric` calls it.
        label: for headings.
        definition: what it is, for a caption.
        of: a benchmark -> its value with a 95 % interval where there is one, or None.
        show: how a value is written.
        tolerance: None for a time, which scatters; else the share by which equal code may differ.
        detail: what else two benchmarks must share, besides machine, sizes and router.
    """

    name: str
    label: str
    definition: str
    of: Callable[[Measurement], Interval | None]
    show: Show
    tolerance: float | None = None
    detail: Callable[[Measurement], object] = lambda _: None


def _time(measurement: Measurement) -> Interval:
    logs = mean_interval([math.log(us) for us in measurement.timing.process_us])
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Interval(math.exp(logs.estimate), low, high)


def _ratio(measurement: Measurement) -> Interval | None:
    """The baseline's to itself is 1 and says nothing."""
    timing = measurement.timing
    return None if measurement.router == timing.baseline else timing.ratio


def _count(name: str) -> Callable[[Measurement], Interval | None]:
    def of(measurement: Measurement) -> Interval | None:
        value = measurement.peak_memory if name == "peak_memory" else measurement.counts.get(name)
        return None if value is None else Interval(float(value))

    return of


def _behaviour(name: str) -> Callable[[Measurement], Interval | None]:
    def of(measurement: Measurement) -> Interval | None:
        stat = measurement.metric_stats.get(name)
        return stat.interval if stat else None

    return of


def _seeds(measurement: Measurement) -> object:
    """Of other seeds a router decides something else."""
    return next((tuple(stat.by_seed) for stat in measurement.metric_stats.values()), ())


RATIO = "ratio"
TIME = "us_per_call"
_FIXED = (
    Metric(
        RATIO,
        "Ratio",
        "Time of a call over that of the baseline in the same rounds, with the 95 % interval over the run's processes; "
        "what slows both down by as much does not show.",
        _ratio,
        ratio,
    ),
    Metric(
        TIME,
        "Time",
        "Microseconds of a call, geometric mean over the run's processes, with its 95 % interval; the machine's mood "
        "shows.",
        _time,
        duration,
    ),
    Metric("peak_memory", "Peak memory", "MiB at the most during a call.", _count("peak_memory"), mebibytes, 1e-2),
    Metric("parameters", "Parameters", "Trainable parameters.", _count("parameters"), count, 0.0),
    Metric("flops", "Work of a call", "Floating-point operations of a call.", _count("flops"), significant, 0.0),
    Metric(
        "experts_per_token",
        "Experts per token",
        "How many a token selects.",
        _count("experts_per_token"),
        significant,
        0.0,
    ),
)
DEFAULT = (RATIO, TIME)
"""What is followed unless something else is asked for."""
# A router draws from a seed and computes in float32: equal code gives equal figures up to the order of its sums.
_SUMS = 1e-4


def metrics_of(runs: Sequence[Run], wanted: Sequence[str]) -> list[Metric]:
    """Those that are asked for; one that no run has is refused, with the names that there are."""
    records = {name: record for run in runs for name, record in run.source.records.metrics.items()}
    known = {metric.name: metric for metric in _FIXED} | {
        name: Metric(
            name, record.label, f"{record.definition}; mean over seeds with its 95 % interval.", _behaviour(name),
            by_format(record.format), _SUMS, _seeds,
        )
        for name, record in records.items()
    }  # fmt: skip
    for name in wanted:
        if name not in known:
            raise ReportError(f"--metric {name}: no such metric; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted or DEFAULT)]
