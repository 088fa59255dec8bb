"""How large a slowdown the gate finds how often."""

from __future__ import annotations

from reports.format.numbers import as_text, bounds, count, fixed, missing, percent, spread
from reports.format.table import Column, Table, text_column
from reports.loading.self_test import Level, SelfTest, Share


def operating_table(test: SelfTest) -> Table:
    """A row per slowdown, and a sentence on the false alarms."""
    return Table(
        name="operating",
        title="What the gate finds",
        caption=f"{test.revision}; {test.setting}; {test.machine}. A call of known cost was made slower by a known "
        f"share, and the gate had to find it on {_benchmarks(test)}; its threshold is "
        f"{100 * test.threshold:g} %. Found means called SLOWER; brackets are Wilson's 95 % intervals.",
        rows=[_row(level) for level in test.levels],
        columns=(
            Column("Slowdown", ("slowdown",), _slowdown),
            Column("Trials", ("trials",), count),
            Column("Found", ("found",), count),
            Column("Share found", ("share", "low", "high"), _share),
            text_column("Not found", "not_found"),
            Column("Ratio estimated", ("ratio_mean", "ratio_sd"), spread(fixed(3))),
        ),
        findings=(_false_alarms(test),),
    )


def _row(level: Level) -> dict[str, object]:
    missed = [f"{trials} {verdict}" for verdict, trials in level.missed.items() if trials]
    return {
        "slowdown": level.slowdown,
        "trials": level.found.trials,
        "found": level.found.hits,
        "share": level.found.share,
        "low": level.found.low,
        "high": level.found.high,
        "not_found": ", ".join(missed) or None,
        "ratio_mean": level.mean,
        "ratio_sd": level.sd,
    }


def _slowdown(value: float) -> str:
    return f"{100 * value:g} %" if value < 1 else f"{1 + value:g} times"


def _share(share: float | None, low: float | None, high: float | None) -> str:
    return (
        as_text(percent(share)) if missing(low) or missing(high) else f"{percent(share)} {bounds(percent)(low, high)}"
    )


def _benchmarks(test: SelfTest) -> str:
    number = len(test.benchmarks)
    return test.benchmarks[0] if number == 1 else f"{number} benchmarks"


def _false_alarms(test: SelfTest) -> str:
    alarms = test.false_alarms
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in alarms.verdicts.items() if number)
    return (
        f"False alarms: {alarms.alarms.hits} of {alarms.alarms.trials} whole runs of a revision against itself, "
        f"{_interval(alarms.alarms)}; of their {alarms.comparisons:,} comparisons: {verdicts or 'none'}."
    )


def _interval(share: Share) -> str:
    return _share(share.share, share.low, share.high)
