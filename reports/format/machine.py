"""What two machines differ in, and a machine in one line.

A machine is a nested dict of fields that stay the same from run to run. Files from before there was one have
pytest-benchmark's `machine_info` instead, which also holds the clock rate of the moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.format.numbers import listing
from reports.records.record import mapping_in
from reports.records.report_data import Source

_VOLATILE = frozenset({"hz_actual", "hz_actual_friendly"})
_GIBIBYTE = 2**30
SETTING = ("device", "threads", "dtype")
"""What a run states of how it timed, beside its preset and its clock."""
# A list up to this long is shown whole, a longer one by what only one side has.
_SHORT_LIST = 4


@dataclass(frozen=True)
class Difference:
    """A field whose values differ, as words."""

    field: str
    base: str
    head: str


def differences(base: Any, head: Any, path: str = "") -> tuple[Difference, ...]:
    """The fields that differ, in the order in which the files bring them."""
    if isinstance(base, Mapping) and isinstance(head, Mapping):
        return tuple(
            difference
            for key in [*base, *(key for key in head if key not in base)]
            if key not in _VOLATILE
            for difference in differences(
                base.get(key, _ABSENT), head.get(key, _ABSENT), f"{path}.{key}" if path else key
            )
        )
    if base == head:
        return ()
    if isinstance(base, list) and isinstance(head, list):
        return _of_lists([str(item) for item in base], [str(item) for item in head], path)
    return (Difference(path, _words(base), _words(head)),)


def _of_lists(base: list[str], head: list[str], path: str) -> tuple[Difference, ...]:
    """Lists of a machine are sets: which flags it has, which cores may be used."""
    if set(base) == set(head):
        return ()
    if max(len(base), len(head)) <= _SHORT_LIST:
        return (Difference(path, listing(base), listing(head)),)
    only_base = [item for item in base if item not in set(head)]
    only_head = [item for item in head if item not in set(base)]
    return (Difference(path, f"base alone has {listing(only_base)}", f"head alone has {listing(only_head)}"),)


class _Absent:
    def __str__(self) -> str:
        return "not recorded"


_ABSENT = _Absent()


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return listing([_words(item) for item in value])
    return "none" if value is None else str(value)


def machines_of(first: Source, second: Source) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The machines of two files; where either has none, what pytest-benchmark noted for both."""
    old, new = first.run.get("machine"), second.run.get("machine")
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old, new
    return first.machine, second.machine


def unlike_conditions(first: Source, second: Source) -> tuple[Difference, ...]:
    """What keeps the times of two files out of one column: another machine or another setting."""
    base, head = (
        {**machine, "setting": setting_of(source) | {"preset": source.preset}}
        for machine, source in zip(machines_of(first, second), (first, second), strict=True)
    )
    return differences(base, head)


def setting_of(source: Source) -> dict[str, Any]:
    """How a run timed; what its file does not say is None."""
    clock = mapping_in(source.run, "clock")
    return {name: source.run.get(name) for name in SETTING} | {"clock": clock.get("mode"), "l2": clock.get("l2")}


def describe(machine: Mapping[str, Any]) -> str:
    """A machine in one line, of what is known of it."""
    cpu, system = mapping_in(machine, "cpu"), mapping_in(machine, "os") or machine
    python, torch, gpu = mapping_in(machine, "python"), mapping_in(machine, "torch"), mapping_in(machine, "gpu")
    processors = _first(cpu, "logical", "count")
    memory = machine.get("memory_bytes")
    governor = machine.get("governor")
    parts = [
        _first(gpu, "name"),
        _first(cpu, "model", "brand_raw") or _first(machine, "processor", "machine") or "an unknown machine",
        f"{processors} {'CPU' if processors == '1' else 'CPUs'}" if processors else None,
        f"{memory / _GIBIBYTE:.1f} GiB" if isinstance(memory, int | float) and 0 < memory < 2**63 else None,
        _joined(_first(system, "system"), _first(system, "release")),
        _joined("Python", _first(python, "version") or _first(machine, "python_version")),
        _joined("torch", _first(torch, "version")),
        _joined("numba", _first(mapping_in(machine, "native"), "numba")),
        _joined("governor", None if governor in (None, "", "unavailable") else str(governor)),
    ]
    return ", ".join(part for part in parts if part)


def name_of(machine: Mapping[str, Any]) -> str:
    """What pytest-benchmark notes of a machine, in a few words: the card, the processor and its cores."""
    cpu = mapping_in(machine, "cpu")
    name = cpu.get("brand_raw") or machine.get("processor") or machine.get("machine") or "an unknown machine"
    cores = cpu.get("count") or machine.get("cores")
    processor = f"{name} ({cores} {'core' if cores == 1 else 'cores'})" if cores else str(name)
    return f"{machine['gpu']} beside {processor}" if machine.get("gpu") else processor


def _first(fields: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these fields that says something."""
    return next((str(fields[key]) for key in keys if fields.get(key)), None)


def _joined(name: str | None, value: str | None) -> str | None:
    return f"{name} {value}" if name and value else None
