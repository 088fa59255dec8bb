"""airspeed velocity's results: what `asv publish` and `asv compare` read, laid out as asv 0.6 does (version 2).

OUT is asv's `results_dir`: `benchmarks.json`, `<machine>/machine.json` and `<machine>/<commit>-<environment>.json`. A
scenario on an input is a benchmark whose parameter is the router, so that all routers share a graph. Exports into one
folder add up: benchmarks and routers that it knows already stay.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from reports.errors import ReportError
from reports.exports.format import Format, Value
from reports.format.escape import one_line
from reports.format.machine import machines_of
from reports.history.run import Run, commit_time
from reports.loading.document import about, read_document
from reports.records.record import mapping_in

_COLUMNS = (
    "result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25",
    "stats_q_75", "stats_number", "stats_repeat", "samples", "profile",
)  # fmt: skip
# What asv calls the kind of a benchmark, its unit, and by what its values are multiplied.
_KINDS = {
    "us_per_call": ("time", "seconds", 1e-6),
    "peak_memory": ("peakmemory", "bytes", 1.0),
}
_LONGEST_ENVIRONMENT = 100


def files(run: Run, values: Sequence[Value], out: Path) -> dict[str, bytes]:
    """The run's own file, its machine, and the benchmarks of all runs in the folder."""
    commit = run.commit
    made = commit_time(run.source.commit)
    if commit is None or not re.fullmatch(r"[0-9a-f]{40}", commit) or made is None:
        raise ReportError(f"{run.file}: has no commit with its time, and asv files results by commit")
    machine = _machine(run)
    rows: dict[str, dict[str, Value]] = {}
    for value in values:
        rows.setdefault(_benchmark(value), {})[_router(value)] = value
    benchmarks = _benchmarks(rows, out / "benchmarks.json")
    environment = _environment(run)
    result = {
        "commit_hash": commit,
        "env_name": environment,
        "date": round(1e3 * made.timestamp()),
        "params": {**machine, **_setting(run), "python": _python(run)},
        "python": _python(run),
        "requirements": {},
        "env_vars": {},
        "result_columns": _COLUMNS,
        "results": {
            name: _result([of.get(router) for router in routers], routers, benchmarks[name]["version"], run)
            for name, of in rows.items()
            for routers in [list(of)]
        },
        "durations": {},
        "version": 2,
    }
    folder = machine["machine"]
    return {
        f"{folder}/machine.json": _json({**machine, "version": 1}),
        f"{folder}/{commit[:8]}-{environment}.json": _json(result),
        # Last: what it names is there by then.
        "benchmarks.json": _json({**benchmarks, "version": 2}),
    }


def _json(document: object) -> bytes:
    return f"{json.dumps(document, indent=1)}\n".encode()


def _benchmark(value: Value) -> str:
    """Scenario and input, with what is measured: a part each, as asv's modules and functions are."""
    subject = value.measurement.subject
    first = [subject] if subject != "router" else []
    kind = _KINDS.get(value.metric.name, ("track",))[0]
    return ".".join([*first, *map(_safe, value.measurement.group[: 1 if first else 2]), f"{kind}_{value.metric.name}"])


def _router(value: Value) -> str:
    """As a parameter's value is written: a Python literal."""
    start = getattr(value.measurement, "initialise", None)
    name = one_line(value.measurement.router)
    return repr(f"{name} ({one_line(start)})" if start else name)


def _safe(text: str) -> str:
    """A part of a name that becomes a file's: letters, digits and a few marks; any other character as its number."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-@=") else f"~{ord(c):x}~" for c in one_line(text))


def _benchmarks(rows: Mapping[str, Mapping[str, Value]], path: Path) -> dict[str, dict[str, Any]]:
    """Those of this run, and those that the folder has already, with the routers of both."""
    known: dict[str, dict[str, Any]] = {}
    if path.exists():
        with about(path):
            document = read_document(path)
            if not isinstance(document, dict) or document.get("version") != 2:
                raise ReportError("is no asv benchmarks.json of version 2")
        known = {name: each for name, each in document.items() if isinstance(each, dict)}
    for name, of in rows.items():
        before = (known.get(name, {}).get("params") or [[]])[0]
        value = next(iter(of.values()))
        known[name] = _description(name, value, list(dict.fromkeys([*before, *of])))
    return known


def _description(name: str, value: Value, routers: list[str]) -> dict[str, Any]:
    kind, unit, _ = _KINDS.get(value.metric.name, ("track", value.metric.label, 1.0))
    code = f"{value.metric.label}: {value.metric.definition}"
    sizes = ", ".join(f"{key} {size:,}" for key, size in value.measurement.sizes.items())
    return {
        "name": name,
        "pretty_name": name,
        "code": f"{code}\n{sizes}",
        "param_names": ["router"],
        "params": [routers],
        "type": kind,
        "unit": unit,
        # Where sizes change, values of before are another benchmark's, and asv does not join them.
        "version": hashlib.sha256(f"{name} {sizes}".encode()).hexdigest(),
        "timeout": None,
    }


def _result(values: Sequence[Value | None], routers: list[str], version: str, run: Run) -> list[Any]:
    shown = [_statistics(value) for value in values]
    began = round(1e3 * (run.date or run.time).timestamp())

    def column(name: str) -> list[Any] | None:
        found = [each.get(name) for each in shown]
        return None if all(each is None for each in found) else found

    return [
        column("result"), [routers], version, began, None, column("low"), column("high"), column("q_25"),
        column("q_75"), column("number"), column("repeat"), column("samples"),
    ]  # fmt: skip


def _statistics(value: Value | None) -> dict[str, Any]:
    """The value; of a time its samples are the processes' times, and the interval is what they give at 99 %."""
    if value is None:
        return {}
    _, _, scale = _KINDS.get(value.metric.name, ("", "", 1.0))
    found: dict[str, Any] = {"result": scale * value.value.estimate}
    if value.metric.name == "us_per_call":
        samples = [scale * us for us in value.measurement.timing.process_us]
        quarters = quantiles(samples, method="inclusive") if len(samples) > 1 else samples * 3
        found |= {"samples": samples, "repeat": len(samples), "number": 1, "q_25": quarters[0], "q_75": quarters[2]}
        found |= dict(zip(("low", "high"), _at_99_percent(samples), strict=True))
    return found


def _at_99_percent(samples: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's t over the logarithms, as the run's own interval at 95 %."""
    import math
    from statistics import fmean, stdev

    from scipy.special import stdtrit

    if len(samples) < 2:
        return None, None
    logs = [math.log(sample) for sample in samples]
    reach = float(stdtrit(len(logs) - 1, 0.995)) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(fmean(logs) - reach), math.exp(fmean(logs) + reach)


def _machine(run: Run) -> dict[str, str]:
    """What asv keeps of a machine; its name is made of what it is, because the file does not know any."""
    hardware = dict(run.conditions)
    found, _ = machines_of(run.source, run.source)
    cpu = mapping_in(found, "cpu")
    parts = (hardware.get("GPU"), hardware.get("CPU", "unknown"), f"{hardware.get('CPUs', '1')} CPUs")
    name = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(part for part in parts if part and part != "None")).strip("-")
    return {
        "machine": name[:_LONGEST_ENVIRONMENT] or "unknown",
        "os": hardware.get("system", ""),
        "arch": str(cpu.get("architecture") or found.get("machine") or ""),
        "cpu": one_line(hardware.get("CPU", "")),
        "num_cpu": hardware.get("CPUs", ""),
        "ram": hardware.get("memory", ""),
    }


def _setting(run: Run) -> dict[str, str]:
    """What else keeps runs apart: asv draws a line for each."""
    own = ("device", "threads", "dtype", "clock", "l2", "preset")
    return {name: value for name, value in run.conditions if name in own}


def _environment(run: Run) -> str:
    said = "-".join(["python" + _python(run), *(f"{name}-{value}" for name, value in _setting(run).items())])
    return re.sub(r"[^A-Za-z0-9.+=-]+", "_", said)[:_LONGEST_ENVIRONMENT]


def _python(run: Run) -> str:
    found, _ = machines_of(run.source, run.source)
    version = mapping_in(found, "python").get("version") or found.get("python_version") or "unknown"
    return re.sub(r"[^0-9A-Za-z.]", "", str(version)) or "unknown"


FORMAT = Format(files, "asv's results_dir (asv publish)", "FOLDER")
