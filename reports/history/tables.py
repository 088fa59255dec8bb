"""The tables of a history: its steps, its runs, and every value for the CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby

from reports.format.numbers import as_text, ratio
from reports.format.table import Column, Table, interval_column, text_column, verdict_column
from reports.history.run import Conditions, Run
from reports.history.series import Series
from reports.history.words import Found, Verdict, besides, verdict

_ROUTERS = 4


def commits_table(found: Found, machines: Mapping[Conditions, str]) -> Table:
    """A row a run at which something steps."""
    rows = []
    for run, steps in groupby(found, key=lambda pair: pair[1].after.run):
        members = list(steps)
        numbers = Counter(verdict(*pair) for pair in members)
        series, change = max(members, key=lambda pair: pair[1].size)
        routers = list(dict.fromkeys(each.router for each, _ in members))
        others = f" and {len(routers) - _ROUTERS:,} more" if len(routers) > _ROUTERS else ""
        rows.append(
            {
                "commit": run.label,
                "date": f"{run.time:%Y-%m-%d}",
                "machine": machines[run.conditions],
                **{str(each): numbers[each] for each in Verdict},
                "routers": f"{', '.join(routers[:_ROUTERS])}{others}",
                "largest": f"{series.benchmark}: {series.metric.label}",
                "ratio": change.ratio and change.ratio.estimate,
                "ratio_low": change.ratio and change.ratio.low,
                "ratio_high": change.ratio and change.ratio.high,
                "also_changed": besides(change.before.run, run) or None,
            }
        )
    shown = [each for each in Verdict if any(row[str(each)] for row in rows)]
    return Table(
        "commits",
        "Commits at which something steps",
        "How many series step at each, newest first; the routers of these series; the largest step, after over "
        "before with its 95 % interval; and what else changed since the run before.",
        rows,
        (
            text_column("Commit", "commit"),
            text_column("Date", "date"),
            *_several(machines),
            *(Column(str(each).capitalize(), (str(each),), as_text) for each in shown),
            text_column("Routers", "routers"),
            text_column("Largest step", "largest"),
            interval_column("After / before", "ratio", ratio),
            text_column("Also changed", "also_changed"),
        ),
    )


def _several(machines: Mapping[Conditions, str]) -> list[Column]:
    return [text_column("Machine", "machine")] if len(machines) > 1 else []


def steps_table(found: Found, machines: Mapping[Conditions, str]) -> Table:
    """A row a step, as they come."""
    also: Callable[[Run, Run], str] = cache(besides)
    rows = [
        {
            "commit": change.after.run.label,
            "date": f"{change.after.run.time:%Y-%m-%d}",
            "before_commit": change.before.run.label,
            "benchmark": series.benchmark,
            "metric": series.metric.label,
            "detail": series.detail,
            "machine": machines[series.conditions],
            "before": change.was,
            "after": change.is_,
            "before_shown": series.metric.show(change.was),
            "after_shown": series.metric.show(change.is_),
            "ratio": change.ratio and change.ratio.estimate,
            "ratio_low": change.ratio and change.ratio.low,
            "ratio_high": change.ratio and change.ratio.high,
            "verdict": str(verdict(series, change)),
            "also_changed": also(change.before.run, change.after.run) or None,
            "file": change.after.run.file,
        }
        for series, change in found
    ]
    return Table(
        "steps",
        "Steps",
        "The first commit after each step, the level before and after it, and their ratio with its 95 % interval. "
        "Newest first. What else changed between the two runs may be the reason as well.",
        rows,
        (
            text_column("Commit", "commit"),
            text_column("Date", "date"),
            *_several(machines),
            text_column("Benchmark", "benchmark"),
            text_column("Metric", "metric"),
            Column("Before", ("before_shown",), as_text),
            Column("After", ("after_shown",), as_text),
            interval_column("After / before", "ratio", ratio),
            verdict_column("It is", "verdict"),
            text_column("Also changed", "also_changed"),
        ),
    )


def runs_table(runs: Sequence[Run], machines: Mapping[Conditions, str]) -> Table:
    """A row a run, the newest first."""
    rows = [
        {
            "commit": run.label,
            "time": f"{run.time:%Y-%m-%d %H:%M}",
            "measured": f"{run.date:%Y-%m-%d %H:%M}" if run.date else None,
            "file": run.file,
            "machine": machines[run.conditions],
            "about": run.machine,
            "preset": run.source.preset,
            "benchmarks": len(run.measurements),
        }
        for run in reversed(runs)
    ]
    return Table(
        "runs",
        "Runs",
        "The runs in the order of their commits, newest first; times are UTC. A + after a commit: the working tree had "
        "changes.",
        rows,
        (
            text_column("Commit", "commit"),
            text_column("Its time", "time"),
            text_column("Measured", "measured"),
            text_column("File", "file"),
            text_column("Machine", "machine"),
            text_column("What it is", "about"),
            text_column("Preset", "preset"),
            Column("Benchmarks", ("benchmarks",), as_text),
        ),
    )


def values_table(series: Sequence[Series], machines: Mapping[Conditions, str]) -> Table:
    """A row a value, for the CSV alone."""
    rows = [
        {
            "benchmark": each.benchmark,
            "router": each.router,
            "metric": each.metric.name,
            "detail": each.detail,
            "machine": machines[each.conditions],
            "commit": point.run.commit,
            "dirty": point.run.dirty,
            "time": point.run.time.isoformat(),
            "measured": point.run.date.isoformat() if point.run.date else None,
            "file": point.run.file,
            "value": point.value.estimate,
            "low": point.value.low,
            "high": point.value.high,
        }
        for each in series
        for point in each.points
    ]
    return Table("values", "Values", "Every value with its interval.", rows, ())
