"""What a run was made on: a description that runs are compared by, and conditions that only explain one.

Neither holds the machine's name or anybody's paths. What a machine does not say is None, or "unavailable".
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

from routers.native import native_version

Answer = TypeVar("Answer")

CPUS = Path("/sys/devices/system/cpu")
ENVIRONMENT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")

THROTTLE_REASONS = {
    0x4: "the power cap",
    0x8: "hardware",
    0x10: "another card (sync boost)",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "the power supply",
}
"""Bits of NVML's reasons for a clock below the highest, without idleness and clocks that were asked for."""


def describe_machine() -> dict[str, Any]:
    """What stays the same from run to run and has a say in how fast they are; JSON values. Never raises.

    torch's threads are those of the moment: call it with the number that timing uses.
    """
    backend = re.search(r"^ATen parallel backend: (.+)$", torch.__config__.parallel_info(), re.MULTILINE)
    return {
        "cpu": _cpu(),
        "memory_bytes": _asked(lambda: int(psutil.virtual_memory().total)),
        "governor": _governor(),
        "threads": {
            "torch": torch.get_num_threads(),
            "torch_interop": torch.get_num_interop_threads(),
            **{name: os.environ.get(name) for name in ENVIRONMENT},
        },
        "os": {
            "system": platform.system(),
            "release": platform.release(),
            "libc": " ".join(platform.libc_ver()).strip() or None,
        },
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "torch": {
            "version": torch.__version__,
            "build": [line.strip() for line in torch.__config__.show().splitlines() if line.strip()],
            "parallel_backend": backend[1] if backend else None,
        },
        "gpu": _gpu(),
        # Not there where there is none, as in runs from before there was any.
        **({"native": {"numba": native}} if (native := native_version()) else {}),
    }


def conditions() -> dict[str, Any]:
    """What is different at every moment and is never compared; JSON values.

    The time is UTC, the load averages are over 1, 5 and 15 minutes, the clock rate is the mean over the CPUs that this
    process may use.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": _asked(lambda: list(psutil.getloadavg())),
        "cpu_mhz": _cpu_mhz(),
        "memory_available_bytes": _asked(lambda: int(psutil.virtual_memory().available)),
        "gpu": _gpu_conditions(),
    }


def _cpu() -> dict[str, Any]:
    info = _cpu_info()
    return {
        "model": info.get("brand_raw"),
        "vendor": info.get("vendor_id_raw"),
        "architecture": platform.machine() or None,
        "flags": sorted(info.get("flags", [])),
        "cores": _asked(lambda: psutil.cpu_count(logical=False)),
        "logical": os.cpu_count(),
        "affinity": _affinity(),
    }


@cache
def _cpu_info() -> dict[str, Any]:
    """What py-cpuinfo, a part of pytest-benchmark, finds out; it takes a second."""
    try:
        import cpuinfo  # type: ignore[import-untyped]  # it has no types

        return dict(cpuinfo.get_cpu_info() or {})
    except Exception:  # it raises what it likes on a processor or in a sandbox that it does not know
        return {}


def _affinity() -> list[int] | None:
    """The numbers of the CPUs that this process may use."""
    return _asked(lambda: sorted(psutil.Process().cpu_affinity()))


def _governor() -> str:
    """What sets the clock rates; several, if the CPUs differ."""
    governors = {_read(path) for path in CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(governor for governor in governors if governor)) or "unavailable"


def _cpu_mhz() -> float | None:
    """The mean clock rate in MHz of the CPUs that this process may use, or None where no CPU has a known rate."""
    rates = [frequency.current for frequency in _asked(lambda: psutil.cpu_freq(percpu=True)) or []]
    usable = [rates[number] for number in _affinity() or range(len(rates)) if number < len(rates)]
    return round(fmean(usable), 1) if usable else None


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    driver, sm, memory = _nvidia_smi("driver_version", "clocks.max.sm", "clocks.max.memory")
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver,
        "cuda": torch.version.cuda,
        "max_sm_mhz": _number(sm),
        "max_memory_mhz": _number(memory),
    }


def _gpu_conditions() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    fields = {
        "sm_mhz": "clocks.sm",
        "memory_mhz": "clocks.mem",
        "temperature_c": "temperature.gpu",
        "power_w": "power.draw",
    }
    found: dict[str, Any] = dict(zip(fields, map(_number, _nvidia_smi(*fields.values())), strict=True))
    # One by one: the tool refuses a whole question for a field that it does not know.
    (reasons,) = _nvidia_smi("clocks_event_reasons.active")
    if reasons is None:
        (reasons,) = _nvidia_smi("clocks_throttle_reasons.active")  # as older drivers call it
    if found["sm_mhz"] is None:
        with suppress(Exception):  # it needs a package of its own, and raises what that likes
            found["sm_mhz"] = float(torch.cuda.clock_rate())
    return found | {"throttled_by": _throttled_by(reasons)}


def _throttled_by(reasons: str | None) -> list[str] | None:
    """The names of the bits of "0x0000000000000004"; None where the driver says nothing."""
    with suppress(TypeError, ValueError):
        bits = int(reasons, 16)  # type: ignore[arg-type]  # None is a TypeError
        return [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    return None


def _nvidia_smi(*fields: str) -> list[str | None]:
    """What the driver's own tool says of the current GPU, field by field."""
    # By its unique number: the tool counts all GPUs, torch those that CUDA_VISIBLE_DEVICES leaves.
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    chosen = [] if uuid is None else [f"--id=GPU-{uuid}"]
    command = ["nvidia-smi", *chosen, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        values = [value.strip() for value in answer.splitlines()[0].split(",")] if answer.strip() else []
        if len(values) == len(fields):
            return list(values)
    return [None] * len(fields)


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None


def _asked(question: Callable[[], Answer]) -> Answer | None:
    """What psutil answers, or None where this system has no answer."""
    with suppress(AttributeError, NotImplementedError, ValueError, OSError, RuntimeError, psutil.Error):
        return question()
    return None


def _number(text: str | None) -> float | None:
    """Of "1980" or "1980.5"; None of "[N/A]"."""
    with suppress(TypeError, ValueError):
        return float(text)  # type: ignore[arg-type]  # None is a TypeError
    return None
