"""What is said of a history, before the page or the terminal escapes it in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from string import ascii_uppercase

from reports.comparisons.stored import other_material
from reports.comparisons.words import counted
from reports.format.escape import shorten
from reports.format.machine import differences, machines_of
from reports.format.numbers import DASH, interval, listing, ratio
from reports.history.folder import Stored
from reports.history.run import Conditions, Run
from reports.history.series import Change, Series
from reports.history.steps import FEWEST
from reports.judging.intervals import Interval

_NAMED = 5
# Characters of a file's name, or of the reason to skip it; the page's last section has all.
_LONGEST = 120
_ALIKE = 0.5
_FEW = 6


class Verdict(StrEnum):
    """What a step is."""

    SLOWER = "slower"
    FASTER = "faster"
    MOVED = "moved"


CLASSES: dict[str, str] = {Verdict.SLOWER: "poor", Verdict.FASTER: "good", Verdict.MOVED: "fair"}
"""The page's colour for each."""

Found = list[tuple[Series, Change]]


def ratio_words(value: Interval | None) -> str:
    """A ratio with its interval."""
    return DASH if value is None else interval(ratio)(value.estimate, value.low, value.high)


def verdict(series: Series, change: Change) -> Verdict:
    """More time is slower; of what is no time neither is better."""
    if series.metric.tolerance is not None:
        return Verdict.MOVED
    return Verdict.SLOWER if change.is_ > change.was else Verdict.FASTER


def steps_of(series: Sequence[Series]) -> Found:
    """All steps: the newest first, of a run what is slower first, and of that the largest."""
    found = [(each, change) for each in series for change in each.changes]

    def place(pair: tuple[Series, Change]) -> tuple[object, ...]:
        each, change = pair
        run = change.after.run
        return -run.time.timestamp(), run.file, verdict(each, change) is not Verdict.SLOWER, -change.size

    return sorted(found, key=place)


def varied(found: Found) -> list[Series]:
    """The series that step, so that the first few of them are of every commit: the largest of each, then the next."""
    ranks: Counter[str] = Counter()
    order: dict[Series, int] = {}
    for series, change in found:
        file = change.after.run.file
        if series not in order:
            order[series] = ranks[file]
            ranks[file] += 1
    return sorted(order, key=lambda series: order[series])


def machines(runs: Sequence[Run]) -> dict[Conditions, str]:
    """Machines and settings by a letter, in the order of their first runs; what tells them apart is `told_apart`."""
    found = dict.fromkeys(run.conditions for run in runs)
    return {
        conditions: ascii_uppercase[place] if place < len(ascii_uppercase) else str(place + 1)
        for place, conditions in enumerate(found)
    }


def told_apart(runs: Sequence[Run]) -> list[str]:
    """A sentence, where there are several machines or settings: in what each differs from others."""
    names = machines(runs)
    if len(names) < 2:
        return []
    said = []
    for conditions, name in names.items():
        number = counted(sum(run.conditions == conditions for run in runs), "run", "runs")
        fields = dict(conditions)
        unlike = [f"{key} {value}" for key, value in fields.items() if any(dict(o).get(key) != value for o in names)]
        said.append(f"{name} has {number} ({', '.join(unlike) or 'says less of itself than the others'})")
    return [f"Times of {len(names)} machines or settings, which do not compare, stand apart: {'; '.join(said)}."]


def summary(stored: Stored, series: Sequence[Series]) -> str:
    """The history in a sentence."""
    runs = stored.runs
    if len(runs) == 1:
        return f"One run alone, of {runs[0].label}: there is nothing to follow yet."
    commits = len({run.commit for run in runs if run.commit})
    of = f" of {counted(commits, 'commit', 'commits')}" if commits else ""
    dates = " to ".join(dict.fromkeys(f"{run.time:%Y-%m-%d}" for run in (runs[0], runs[-1])))
    stepping = sum(bool(each.changes) for each in series)
    found = f"{stepping:,} of {len(series):,} series step" + "s" * (stepping == 1) if stepping else "nothing steps"
    return f"{counted(len(runs), 'run', 'runs')}{of}, {dates}: {found}."


def remarks(stored: Stored, series: Sequence[Series]) -> list[str]:
    """What to know of it: too few runs, machines apart, runs that prove nothing, what was left out."""
    said = [*_short(stored.runs, series), *told_apart(stored.runs), *stored.remarks, *_everywhere(series)]
    trials = [run.file for run in stored.runs if not run.source.conclusive]
    if trials:
        said.append(f"{_some(trials)}: a run that proves nothing; its times are shown all the same.")
    dirty = [run.file for run in stored.runs if run.dirty]
    if dirty:
        said.append(f"{_some(dirty)}: measured with changes that no commit holds (+ after the commit).")
    if stored.skipped:
        files = [f"{shorten(each.file, _LONGEST)} ({shorten(each.reason, _LONGEST)})" for each in stored.skipped]
        said.append(f"{counted(len(files), 'file', 'files')} skipped: {_some(files, '; ')}.")
    return said


def _short(runs: Sequence[Run], series: Sequence[Series]) -> Iterator[str]:
    longest = max((len(each.points) for each in series if each.metric.tolerance is None), default=0)
    if len(runs) > 1 and 0 < longest < FEWEST:
        yield (
            f"No series of times has more than {counted(longest, 'run', 'runs')}; steps are looked for from {FEWEST} "
            "runs on."
        )


def _everywhere(series: Sequence[Series]) -> Iterator[str]:
    """Where most series of a machine step at once: more likely the machine or the installation than the code."""
    for family in dict.fromkeys((each.metric, each.conditions) for each in series):
        of = [each for each in series if (each.metric, each.conditions) == family and each.metric.tolerance is None]
        steps = Counter(change.after.run.file for each in of for change in each.changes)
        labels = {change.after.run.file: change.after.run.label for each in of for change in each.changes}
        for file, number in steps.items():
            if len(of) >= _FEW and number >= _ALIKE * len(of):
                yield (
                    f"{family[0].label}: {number:,} of {len(of):,} series step at {labels[file]}: look for what all "
                    "of them share (the machine, its load, the installation) before the code."
                )


def besides(before: Run, after: Run) -> str:
    """What else changed between two runs: the same commit, software, texts and models."""
    machine = [each.field for each in differences(*machines_of(before.source, after.source))]
    material = [said.removeprefix("Not the same in both runs: ").partition(".")[0]
                for said in other_material(before.source.run, after.source.run)]  # fmt: skip
    same = ["nothing in the code: it is the same commit"] if after.commit and before.commit == after.commit else []
    return _some([*same, *machine, *material])


def _some(names: Sequence[str], between: str = ", ") -> str:
    if len(names) <= _NAMED:
        return listing(list(names)) if between == ", " and names else between.join(names)
    return f"{between.join(names[:_NAMED])} and {len(names) - _NAMED:,} more"
