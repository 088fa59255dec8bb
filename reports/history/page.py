"""The page of a history: steps open, every series folded below them, and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from reports.comparisons.words import counted
from reports.format.render import to_csv
from reports.history.folder import Stored
from reports.history.panel import panel
from reports.history.run import Conditions
from reports.history.series import Series
from reports.history.steps import FEWEST, LEVEL, SHORTEST
from reports.history.tables import commits_table, runs_table, steps_table, values_table
from reports.history.words import CLASSES, machines, remarks, steps_of, summary, varied
from reports.page.simple import Gallery, Section, simple_files

TITLE = "Routers over commits"
# So many drawings are seen without opening anything, and so many rows.
_OPEN = 12
_ROWS = 100
_READING = (
    "A point is a run, the line through it the 95 % interval inside that run, which knows nothing of the machine's "
    "mood from run to run. Runs stand by the time of their commits, moved apart where they would lie on one another. "
    "A broken line is a step, with how many times as much it is from there on; a level is the mean between two steps."
)
_METHOD = (
    f"Steps in times are change points found by circular binary segmentation on logarithms, weighted by the runs' own "
    f"intervals and by the scatter between runs (Olshen and others, 2004), from {FEWEST} runs on, and with "
    f"{SHORTEST} runs at least on both sides: a step in the newest {SHORTEST - 1} runs is not seen yet. Of the "
    f"series that are said to step {100 * LEVEL:g} % are flat at most, on average (Benjamini and Hochberg), if runs "
    "scatter independently and alike.",
    "A figure that is no time does not scatter: each change of more than one part in ten thousand is a step.",
    "Runs are joined where CPU, memory, GPU, device, threads, dtype, clock and preset are the same, and benchmarks "
    "where their sizes are. A change of the installation (torch, Python, the kernel) is a step of one history, and "
    "named beside it.",
)


def history_files(stored: Stored, series: Sequence[Series]) -> dict[str, bytes]:
    """Every file of the page by its relative name, the page last."""
    names = machines(stored.runs)
    found = steps_of(series)
    lead = [summary(stored, series), *remarks(stored, series)]
    sections = [*_steps(series, names), *_all(series, names), _runs(stored, names)]
    files = simple_files(TITLE, lead, sections, classes=CLASSES)
    page = files.pop("index.html")
    tables = [values_table(series, names), *([steps_table(found, names)] if found else [])]
    # The page shows the first of many; these hold all.
    files |= {f"tables/{table.name}.csv": to_csv(table).encode() for table in tables}
    return files | {"index.html": page}


def _steps(series: Sequence[Series], names: Mapping[Conditions, str]) -> Iterator[Section]:
    found = steps_of(series)
    if not found:
        return
    stepping = varied(found)
    first = Gallery("", _READING, tuple(panel(each, named=True) for each in stepping[:_OPEN]))
    yield Section("steps", "Steps", items=(commits_table(found, names), first))
    rest = (f"The first {_ROWS} of {len(found):,} steps; tables/steps.csv has all.",) if len(found) > _ROWS else ()
    title = f"All {counted(len(found), 'step', 'steps')}" if len(found) > 1 else "The step"
    table = steps_table(found[:_ROWS], names)
    yield Section("all-steps", title, items=(table,), sentences=rest, folded=len(found) > _OPEN)
    others = tuple(panel(each, named=True) for each in stepping[_OPEN:])
    if others:
        title = f"{len(others):,} more series that step"
        yield Section("more-steps", title, items=(Gallery("", _READING, others),), folded=True)


def _all(series: Sequence[Series], names: Mapping[Conditions, str]) -> Iterator[Section]:
    """A folded section for each metric of each machine; in it a gallery for each scenario and input."""
    for number, (conditions, metric) in enumerate(dict.fromkeys((each.conditions, each.metric) for each in series)):
        of = sorted(
            (each for each in series if (each.conditions, each.metric) == (conditions, metric)),
            key=lambda each: each.group,
        )
        galleries = [
            Gallery(group, "", tuple(panel(each, named=False) for each in members))
            for group, members in groupby(of, key=lambda each: each.group)
        ]
        where = f", machine {names[conditions]}" if len(names) > 1 else ""
        title = f"{metric.label}{where}: all {len(of):,} series"
        yield Section(f"all-{number}", title, metric.definition, tuple(galleries), (_READING,), folded=True)


def _runs(stored: Stored, names: Mapping[Conditions, str]) -> Section:
    skipped = tuple(f"Skipped: {each.file}: {each.reason}" for each in stored.skipped)
    folded = len(stored.runs) > 1
    return Section(
        "runs",
        "Runs and method",
        items=(runs_table(stored.runs, names),),
        sentences=(*_METHOD, *skipped),
        folded=folded,
    )
