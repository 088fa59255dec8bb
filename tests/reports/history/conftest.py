"""Stored runs with times that are known: a router by itself, its baseline, and a step where a test wants one."""

import copy
import json
import random

import pytest

from tests.reports.comparisons.conftest import mixed_gate

ROUTERS = ("linear", "mlp", "hash")


def one_run(pristine, number, *, slower=1.0, all_slower=1.0, routers=ROUTERS, commit=None):
    """A run of the day `number` of 2026, whose mlp takes `slower` times as long; a thousandth of noise."""
    noise = random.Random(number)
    run = {key: copy.deepcopy(value) for key, value in pristine.items() if key != "benchmarks"}
    run["benchmarks"] = copy.deepcopy(
        [
            b
            for b in pristine["benchmarks"]
            if (b["extra_info"]["scenario"], b["extra_info"]["input"]) == ("token", "random")
            and b["extra_info"]["router"] in routers
        ]
    )
    month, day = divmod(number, 28)
    run["datetime"] = f"2026-{month + 1:02}-{day + 1:02}T12:00:00"
    run["commit_info"] = {"id": commit or f"{number:040x}", "time": f"2026-{month + 1:02}-{day + 1:02}T10:00:00+00:00"}
    for benchmark in run["benchmarks"]:
        info = benchmark["extra_info"]
        info.pop("figures", None)
        timing = info["timing"]
        factor = (slower if info["router"] == "mlp" else 1.0) * all_slower * (1 + noise.gauss(0, 0.001))
        us = timing["us_per_call"] * factor
        timing |= {"us_per_call": us, "process_us": [us] * 5, "ns_per_token": 1e3 * us / timing["tokens_per_call"]}
        timing["gflops"] = info["flops"] / us / 1e3 if info["flops"] else None
    base = next(b["extra_info"]["timing"] for b in run["benchmarks"] if b["extra_info"]["router"] == "linear")
    for benchmark in run["benchmarks"]:
        timing = benchmark["extra_info"]["timing"]
        ratio = timing["us_per_call"] / base["us_per_call"]
        timing["ratio"] = {"estimate": ratio, "low": ratio * 0.999, "high": ratio * 1.001}
    return run


@pytest.fixture
def gate_document():
    return mixed_gate()


@pytest.fixture
def make_run(pristine):
    return lambda number, **changes: one_run(pristine, number, **changes)


@pytest.fixture
def store(tmp_path):
    """Writes runs into a folder as pytest-benchmark's storage does, and returns the folder."""
    folder = tmp_path / "stored"

    def write(*runs):
        below = folder / "Linux-CPython-3.11-64bit"
        below.mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(runs, 1):
            (below / f"{number:04}_run.json").write_text(json.dumps(run))
        return folder

    return write
