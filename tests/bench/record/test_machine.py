from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pytest
import torch

from bench.presets import get_preset
from bench.record import machine
from bench.record.journal import Journal
from bench.record.machine import conditions, describe_machine
from bench.run import Run
from bench.timing.context import MeasurementContext
from bench.timing.interleave import threads
from routers.native import native_version

ROOT = Path(__file__).parents[3]
real_affinity = machine._affinity


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /sys, to be filled; the process may use CPUs 0 and 1."""
    monkeypatch.setattr(machine, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(machine, "_affinity", lambda: [0, 1])
    return tmp_path / "cpu"


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_two_processes_on_one_machine_are_described_alike() -> None:
    program = "import json; from bench.record.machine import describe_machine; print(json.dumps(describe_machine()))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second
    assert json.loads(first)["cpu"]["logical"] == os.cpu_count()


def test_both_are_plain_json() -> None:
    stable, volatile = describe_machine(), conditions()
    for values in (stable, volatile):
        assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert datetime.fromisoformat(volatile["time"]).tzinfo is not None
    assert stable["torch"]["version"] == torch.__version__
    assert stable.get("native") == ({"numba": native_version()} if native_version() else None)
    assert stable["memory_bytes"] is None or stable["memory_bytes"] > 2**20


def test_neither_says_whose_machine_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "the-name-of-the-machine")
    stable = describe_machine()
    del stable["torch"]["build"]  # names folders of the machine on which torch was built
    said = json.dumps([stable, conditions()])
    assert "the-name-of-the-machine" not in said
    assert str(Path.home()) not in said
    assert str(ROOT) not in said


def test_the_threads_are_those_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for count in (1, 2):
        with threads(count):
            found = describe_machine()["threads"]
        assert found.pop("torch_interop") >= 1
        assert found == {
            "torch": count,
            "OMP_NUM_THREADS": "3",
            "OMP_WAIT_POLICY": "PASSIVE",
            "MKL_NUM_THREADS": None,
        }


def test_a_run_has_the_machine_with_the_threads_it_times_with(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", {}, resume=False) as journal, threads(1):
        context = MeasurementContext(journal, lambda what, steps: nullcontext(), "cpu", num_threads=2)  # type: ignore[arg-type,return-value]  # no bar is shown
        summary = Run(get_preset("smoke"), context, []).summary()
        assert summary["machine"] == describe_machine() | {"threads": describe_machine()["threads"] | {"torch": 2}}
    before, after = summary["conditions"]["before"], summary["conditions"]["after"]
    assert before.keys() == after.keys() == conditions().keys()
    assert before["time"] <= after["time"]


def test_a_machine_that_says_nothing_is_no_error(cpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("not here")

    for name in ("virtual_memory", "getloadavg", "cpu_freq", "Process"):
        monkeypatch.setattr(psutil, name, refuse)
    for module in (os, psutil):
        monkeypatch.setattr(module, "cpu_count", lambda logical=True: None)
    monkeypatch.setattr(machine, "_affinity", real_affinity)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(machine, "_cpu_info", machine._cpu_info.__wrapped__)
    monkeypatch.setitem(sys.modules, "cpuinfo", None)  # as if it were not installed
    stable, volatile = describe_machine(), conditions()
    silent = dict.fromkeys(("model", "vendor", "cores", "logical", "affinity"))
    assert stable["cpu"] == silent | {"architecture": platform.machine(), "flags": []}
    assert (stable["memory_bytes"], stable["governor"], stable["os"]["libc"]) == (None, "unavailable", None)
    del volatile["time"]
    assert set(volatile.values()) == {None}


def test_a_processor_that_cpuinfo_does_not_know_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> NoReturn:
        raise Exception("py-cpuinfo currently only works on ...")  # as it does

    monkeypatch.setitem(sys.modules, "cpuinfo", SimpleNamespace(get_cpu_info=refuse))
    monkeypatch.setattr(machine, "_cpu_info", machine._cpu_info.__wrapped__)
    assert describe_machine()["cpu"]["model"] is None


def test_cores_are_counted_once_whatever_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 5 if logical else 3)
    assert describe_machine()["cpu"]["cores"] == 3
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: None)
    assert describe_machine()["cpu"]["cores"] is None


def test_governors_are_named_each_once(cpus: Path) -> None:
    for cpu, governor in enumerate(("schedutil", "performance", "schedutil")):
        put(cpus / f"cpu{cpu}" / "cpufreq" / "scaling_governor", governor + "\n")
    assert describe_machine()["governor"] == "performance, schedutil"


@pytest.mark.usefixtures("cpus")
def test_the_clock_rate_is_the_mean_of_the_usable_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [SimpleNamespace(current=mhz) for mhz in (3000.0, 4000.0, 800.0)]  # the third is not ours
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: rates)
    assert conditions()["cpu_mhz"] == 3500
    rates.clear()
    assert conditions()["cpu_mhz"] is None


def test_memory_is_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"MemTotal": 2048, "MemFree": 512, "MemAvailable": 1024}
    said |= dict.fromkeys(("Buffers", "Cached", "Shmem", "Active", "Inactive"), 0)
    put(tmp_path / "meminfo", "".join(f"{name}: {kib} kB\n" for name, kib in said.items()))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert conditions()["memory_available_bytes"] == 2**20
    assert describe_machine()["memory_bytes"] == 2**21


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with a GPU, so far as is asked; the folder is where `nvidia-smi` is looked for."""
    properties: Any = SimpleNamespace(name="NVIDIA H100", total_memory=85_000_000_000, major=9, minor=0, uuid="12-34")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def nvidia_smi(folder: Path, answer: str) -> None:
    program = folder / "nvidia-smi"
    put(program, f'#!/bin/sh\necho "$@" > {folder}/arguments\n{answer}\n')
    program.chmod(0o755)


def test_a_gpu_is_described_by_torch_and_its_driver(gpu: Path) -> None:
    nvidia_smi(gpu, 'echo "550.54.15, 1980, 2619"')
    assert describe_machine()["gpu"] == {
        "name": "NVIDIA H100",
        "memory_bytes": 85_000_000_000,
        "capability": "9.0",
        "driver": "550.54.15",
        "cuda": torch.version.cuda,
        "max_sm_mhz": 1980,
        "max_memory_mhz": 2619,
    }
    reasons = """case "$1$2" in *reasons*) echo 0x0000000000000024;; *) echo "345, 2619, [N/A], 71.5";; esac"""
    nvidia_smi(gpu, reasons)
    assert conditions()["gpu"] == {
        "sm_mhz": 345,
        "memory_mhz": 2619,
        "temperature_c": None,
        "power_w": 71.5,
        "throttled_by": ["the power cap", "heat (software)"],
    }
    assert "--id=GPU-12-34" in (gpu / "arguments").read_text()


@pytest.mark.parametrize("answer", ["exit 9", "echo nonsense", "true"], ids=["fails", "says something else", "silent"])
def test_a_driver_tool_that_does_not_answer_is_no_error(gpu: Path, answer: str) -> None:
    nvidia_smi(gpu, answer)
    assert describe_machine()["gpu"]["driver"] is None
    assert set(conditions()["gpu"].values()) == {None}


def test_an_older_driver_is_asked_for_the_reasons_by_their_older_name(gpu: Path) -> None:
    nvidia_smi(
        gpu, """case "$1$2" in *event_reasons*) exit 2;; *throttle*) echo 0x0;; *) echo "1980, 3201, 60, 500";; esac"""
    )
    found = conditions()["gpu"]
    assert (found["sm_mhz"], found["throttled_by"]) == (1980, [])


def test_without_the_drivers_tool_torch_is_asked_for_the_clock(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(gpu, "exit 9")
    monkeypatch.setattr(torch.cuda, "clock_rate", lambda: 1755)
    assert conditions()["gpu"]["sm_mhz"] == 1755
