"""A stored run: its file, its commit, when it was, and what keeps its times from being joined with others'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from reports.format.escape import one_line
from reports.format.machine import describe, machines_of, setting_of
from reports.records.measurements import Measurement
from reports.records.record import mapping_in
from reports.records.report_data import Source

_SHORT_COMMIT = 8
_GIBIBYTE = 2**30

Conditions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Run:
    """A file of benchmarks among others.

    Attributes:
        file: its path below the folder.
        source: what it says of the run.
        measurements: its benchmarks.
        time: where it stands among the runs, UTC: when its commit was made, or where that is not known the run.
        date: when it ran, UTC, if it says so.
    """

    file: str
    source: Source
    measurements: tuple[Measurement, ...]
    time: datetime
    date: datetime | None

    @property
    def commit(self) -> str | None:
        """The revision, in full."""
        return self.source.revision

    @property
    def label(self) -> str:
        """The short commit, with a + where the working tree had changes; where there is none, the run's date."""
        if self.commit is None:
            return f"{self.time:%Y-%m-%d %H:%M}"
        return one_line(self.commit[:_SHORT_COMMIT]) + "+" * self.dirty

    @property
    def dirty(self) -> bool:
        """Whether something was measured that no commit holds."""
        return self.source.commit.get("dirty") is True

    @property
    def has_commit_time(self) -> bool:
        """Whether it stands where its commit does."""
        return commit_time(self.source.commit) is not None

    @cached_property
    def conditions(self) -> Conditions:
        """Hardware and setting: runs that differ in any of it are of two histories."""
        machine, _ = machines_of(self.source, self.source)
        return tuple((name, str(value)) for name, value in {**_hardware(machine), **_setting(self.source)}.items())

    @property
    def machine(self) -> str:
        """The machine in one line."""
        return describe(machines_of(self.source, self.source)[0])


def _setting(source: Source) -> dict[str, Any]:
    return {name: value for name, value in setting_of(source).items() if value is not None} | {"preset": source.preset}


def _hardware(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What a machine is made of: neither its name nor its software, whose changes are steps of one history."""
    cpu, system, gpu = mapping_in(machine, "cpu"), mapping_in(machine, "os"), machine.get("gpu")
    affinity, memory = cpu.get("affinity"), machine.get("memory_bytes")
    found = {
        "CPU": cpu.get("model") or cpu.get("brand_raw") or machine.get("processor") or machine.get("machine"),
        "CPUs": cpu.get("logical") or cpu.get("count"),
        "CPUs used": len(affinity) if isinstance(affinity, list) else None,
        "memory": f"{memory / _GIBIBYTE:.0f} GiB" if isinstance(memory, int | float) else None,
        "system": system.get("system") or machine.get("system"),
        "GPU": gpu.get("name", gpu) if isinstance(gpu, Mapping) else gpu,
    }
    return {name: value for name, value in found.items() if value is not None}


def commit_time(commit: Mapping[str, Any]) -> datetime | None:
    """When a commit was made: git's committer date, or the author's where there is no other."""
    return moment(commit.get("time")) or moment(commit.get("author_time"))


def moment(text: Any) -> datetime | None:
    """A date in ISO 8601 in UTC, which it is taken for where it says nothing; None where it is no date."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
