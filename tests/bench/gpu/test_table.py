"""The table that the command prints last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.table import PAPER_MS, lines
from reports.judging.paper import RANDOM_INPUT

GPU = {"sm_mhz": 1980.0, "memory_mhz": 3201.0, "temperature_c": 40.0, "power_w": 500.0, "throttled_by": []}
GROUP = "router | random | T=2048 D=768 E=8 K=2"


def document(scenario: str, mode: str = "events") -> dict[str, Any]:
    """A run of linear and hash on a card."""
    benchmarks = [
        {
            "group": GROUP,
            "extra_info": {
                "scenario": scenario,
                "router": router,
                "num_tokens": 2048,
                "hidden_size": 768,
                "num_experts": 8,
                "top_k": 2,
                "dtype": "float32",
                "preset": "paper",
                "timing": {
                    "repetitions": 5,
                    "rounds": 1024,
                    "clock_mode": mode,
                    "l2": "warm",
                    "baseline": "linear",
                    "us_per_call": 126 * ratio,
                    "ratio": {"estimate": ratio, "low": 0.99 * ratio, "high": 1.01 * ratio},
                },
            },
        }
        for router, ratio in (("linear", 1.0), ("hash", 1.54))
    ]
    floor = {"estimate": 0.998, "low": 0.994, "high": 1.002}
    after = GPU | {"sm_mhz": 1755.0, "throttled_by": ["the power cap"]}
    study = {
        "machine": {
            "gpu": {"name": "NVIDIA H200", "driver": "580.159", "cuda": "13.0"},
            "torch": {"version": "2.11.0"},
            "cpu": {"model": "a CPU"},
        },
        "conditions": {"before": {"gpu": GPU}, "after": {"gpu": after}},
        "noise": [{"scenario": scenario, "noise_floor": floor, "resolution": 0.008}],
    }
    return {"datetime": "2026-11-26T03:04:05", "benchmarks": benchmarks, "study": study}


@pytest.fixture
def shown(tmp_path: Path) -> Any:
    def show(**documents: dict[str, Any]) -> list[str]:
        for name, content in documents.items():
            (tmp_path / f"{name.replace('_', '-')}.json").write_text(json.dumps(content))
        return list(lines(tmp_path))

    return show


def test_the_papers_table_stands_beside_ours(shown: Any) -> None:
    said = shown(paper_router=document("router"), paper_training=document("training"))
    assert said[0] == "NVIDIA H200 (driver 580.159, CUDA 13.0), torch 2.11.0, 2026-11-26"
    assert said[1] == "SM clock 1,755 to 1,980 MHz, memory clock 3,201 MHz, at 40 °C"
    assert said[2] == "slowed down by: the power cap"
    rows = {line.split()[0]: line.split() for line in said if line}
    assert rows["linear"] == ["linear", "126.0", "1.0", "126.0", "µs", "-", "126.0", "µs"]
    assert rows["hash"] == ["hash", "194.0", "1,214.3", "1.54", "[1.52,", "1.56]", "-", "1.54", "[1.52,", "1.56]"]
    assert rows["attention"][1:] == ["-", "4.1", "-", "-", "-"]
    assert "router alone: linear against itself 0.998 [0.994, 1.002], tells 0.8 % apart" in said


def test_other_files_are_a_line_a_group_with_their_mode(shown: Any) -> None:
    (line,) = shown(mode_graph=document("router", "graph+events"))[-1:]
    assert line == f"mode-graph: {GROUP}; clock graph+events, L2 warm: linear 126.0 µs; hash 1.54"


def test_where_nothing_was_measured_there_is_no_table(shown: Any) -> None:
    assert shown() == []


def test_the_papers_latencies_are_those_that_reports_have() -> None:
    assert {name: printed.value for name, printed in RANDOM_INPUT.values["latency_ms"].items()} == PAPER_MS
