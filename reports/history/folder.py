"""Reads the runs of a folder, pytest-benchmark's storage or any other; what is none is named, with the reason."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from reports.errors import ReportError
from reports.history.run import Run, commit_time, moment
from reports.loading.load import load_benchmarks

_NAMED = 3


@dataclass(frozen=True)
class Skipped:
    """A file that is not used."""

    file: str
    reason: str


@dataclass(frozen=True)
class Stored:
    """What a folder holds: runs in the order of their commits' times, then of their own, and what was left out."""

    folder: str
    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]

    @property
    def remarks(self) -> list[str]:
        """What a reader has to know of the order of the runs, a sentence each."""
        early = [run.file for run in self.runs if run.has_commit_time and run.date and run.date < run.time]
        bare = [run.file for run in self.runs if not run.has_commit_time]
        said = []
        if early:
            said.append(
                f"{_names(early)}: measured before the commit was made, as its dates say. One of the two clocks is "
                "wrong; runs stand in the order of their commits."
            )
        if bare:
            said.append(f"{_names(bare)}: no commit's time in the file, so that the run's own date stands for it.")
        return said


def read_folder(folder: Path) -> Stored:
    """Every run below a folder; raises `ReportError` where there is none."""
    if not folder.is_dir():
        raise ReportError(f"{folder}: {'is no folder' if folder.exists() else 'No such folder'}")
    paths = _files(folder)
    if not paths:
        raise ReportError(f"{folder}: holds no file *.json")
    runs: list[Run] = []
    skipped: list[Skipped] = []
    seen: dict[object, str] = {}
    for path in tqdm(paths, desc="runs", leave=False, disable=None):
        name = os.fsencode(path.relative_to(folder)).decode(errors="replace")
        try:
            run = _read(path, name)
        except ReportError as error:
            skipped.append(Skipped(name, str(error).removeprefix(f"{path}: ")))
            continue
        same = seen.setdefault(_fingerprint(run), name)
        if same == name:
            runs.append(run)
        else:
            skipped.append(Skipped(name, f"is the same run as {same}"))
    if not runs:
        first = skipped[0]
        others = f", nor in {len(skipped) - 1} other(s)" if len(skipped) > 1 else ""
        raise ReportError(f"{folder}: no run of pytest bench in {first.file} ({first.reason}){others}")
    return Stored(str(folder), tuple(sorted(runs, key=_order)), tuple(skipped))


def read_run(path: Path) -> Run:
    """The run of one file, whose complaints name it."""
    return _read(path, os.fsencode(path).decode(errors="replace"))


def _files(folder: Path) -> list[Path]:
    """Every JSON below the folder, by name; links to folders are not followed, which could go round in circles."""

    def refuse(error: OSError) -> None:
        raise ReportError(f"{error.filename}: cannot be read: {error.strerror}")

    walked = os.walk(folder, onerror=refuse)
    return sorted(Path(root) / name for root, _, names in walked for name in names if name.endswith(".json"))


def _read(path: Path, name: str) -> Run:
    data = load_benchmarks(path)
    source = data.sources[0]
    date = moment(source.date)
    time = commit_time(source.commit) or date
    if time is None:
        raise ReportError(f"{path}: has neither its commit's time nor a date")
    return Run(name, source, data.measurements, time, date)


def _fingerprint(run: Run) -> object:
    """What two copies of a file share, one in pytest-benchmark's storage perhaps."""
    return run.source.date, run.commit, tuple((each.name, each.timing.process_us) for each in run.measurements)


def _order(run: Run) -> tuple[object, ...]:
    return run.time, run.date or run.time, run.file


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{', '.join(files[:_NAMED])}{more}"
