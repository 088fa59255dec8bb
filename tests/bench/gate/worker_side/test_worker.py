"""A revision's own side: the real suite, collected, stored and timed, in the smallest preset."""

from __future__ import annotations

import argparse
import gc
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.case import Case
from bench.gate.errors import CollectionError
from bench.gate.revisions.facts import read_invariants
from bench.gate.verdicts.invariants import Expectations, compare_invariants
from bench.gate.worker import Worker
from bench.gate.worker_side.timed_benchmarks import TimedBenchmarks
from bench.gate.worker_side.worker_inputs import WorkerInputs
from bench.presets import get_preset
from bench.router.calls import BATCH, RouterCalls
from bench.router.inputs import Inputs
from bench.scenario import list_scenarios

ROOT = Path(__file__).parents[4]
SMOKE = get_preset("smoke")
BENCHMARKS = [Case(scenario, "linear", "random") for scenario in ("router", "token", "training")]
HASH = Case("router", "hash", "random")


@pytest.fixture(autouse=True)
def garbage_collector() -> Iterator[None]:
    """Timing turns it off for the process, which here is that of the tests."""
    yield
    gc.enable()


@pytest.fixture(scope="module")
def worker_inputs() -> WorkerInputs:
    return WorkerInputs(SMOKE, (), [*BENCHMARKS, HASH])


def serve(options: dict[str, Any], *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """A worker's answers."""
    asked = io.BytesIO(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
    answers = io.BytesIO()
    defaults = {"preset": "smoke", "select": None, "threads": 1, "router": [], "model": [], "device": "cpu"}
    Worker(asked, answers, argparse.Namespace(**(defaults | options))).serve()
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_names_are_read_back() -> None:
    for benchmark in (*BENCHMARKS, Case("router", "a | b", "random")):
        assert Case.parse(str(benchmark)) == benchmark


def collected(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: pytest inside pytest would see the outer one's modules."""
    program = (
        "import sys\n"
        "from bench.gate.errors import CollectionError\n"
        "from bench.gate.worker_side.collect import collect\n"
        "for select in sys.argv[1:]:\n"
        "    try:\n"
        "        print(*collect('smoke', select or None, []), sep='\\n')\n"
        "    except CollectionError as error:\n"
        "        print(f'error: {error}')\n"
        "    print('end')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *options], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_what_pytest_collects_is_there_and_selected() -> None:
    process = collected("", "bench_router and random and linear", "no_such_thing", "linear and (")
    everything, selected, nothing, wrong = (part.splitlines() for part in process.stdout.split("end\n")[:4])
    benchmarks = {Case.parse(line) for line in everything}
    offered = {name: scenario for name, scenario in list_scenarios("router").items() if scenario.is_collected(SMOKE)}
    assert {benchmark.scenario for benchmark in benchmarks} == offered.keys()
    for name, scenario in offered.items():
        inputs = set(scenario.parameters(SMOKE)["input_name"])
        assert {each.input for each in benchmarks if each.scenario == name} == inputs
    assert len(benchmarks) == len(everything)
    assert selected == ["router | random | linear"]
    assert "".join(nothing) == ""
    [error] = wrong
    assert error.startswith("error: ERROR: Wrong expression passed to '-k': linear and (")
    assert process.stderr == ""


def test_stored_and_loaded_it_is_timed(worker_inputs: WorkerInputs, tmp_path: Path) -> None:
    worker_inputs.store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["random.safetensors"]
    assert worker_inputs.shapes() == {"random": [SMOKE.batch_size * SMOKE.sequence_length, SMOKE.hidden_size]}
    timed = TimedBenchmarks(SMOKE, tmp_path, BENCHMARKS, {str(BENCHMARKS[0]): 0.1}, seed=1)
    for benchmark in BENCHMARKS:
        for calls in (1, 3):
            durations = timed.time(benchmark, calls)
            assert len(durations) == calls
            assert all(type(duration) is int and duration > 0 for duration in durations)
    assert not gc.isenabled()
    assert torch.is_grad_enabled()


def test_what_is_loaded_is_what_was_stored(worker_inputs: WorkerInputs, tmp_path: Path) -> None:
    worker_inputs.store(tmp_path)
    calls = RouterCalls(Inputs(SMOKE, "cpu"), tmp_path)
    assert torch.equal(calls._stored("random")[BATCH], worker_inputs.batches["random"])
    loaded, made = calls._bank("random").state_dict(), worker_inputs.experts["random"].state_dict()
    assert loaded.keys() == made.keys()
    assert all(torch.equal(loaded[key], made[key]) for key in made)


def test_facts_are_the_same_in_two_runs(worker_inputs: WorkerInputs) -> None:
    facts = worker_inputs.facts([*BENCHMARKS, HASH])
    other = WorkerInputs(SMOKE, (), [*BENCHMARKS, HASH]).facts([*BENCHMARKS, HASH])
    assert facts["checks"] == other["checks"]
    # As exactly as the gate asks it of two revisions: not to the last bit of a sum.
    first, second = read_invariants(facts["figures"]), read_invariants(other["figures"])
    assert first.keys() == second.keys()
    assert compare_invariants(first, second, Expectations([])) == ([], len(first))
    assert facts["checks"] == dict.fromkeys(map(str, [*BENCHMARKS, HASH]))
    figures = {(name, figure): value for name, figure, value in facts["figures"]}
    assert len(figures) == len(facts["figures"])
    linear = str(BENCHMARKS[0])
    assert figures[linear, "parameters"] == 64 * 8
    assert figures[linear, "flops"] == 2 * 32 * 64 * 8
    assert figures[str(HASH), "parameters"] == 0
    for benchmark in (*BENCHMARKS, HASH):
        assert figures[str(benchmark), "peak_memory"] > 0
    for router in ("linear", "hash"):
        behaviour = {figure for name, figure in figures if name == f"random | {router}"}
        assert {"token_entropy", "cv", "output_std"} < behaviour
        assert any(figure.startswith("output_std (") for figure in behaviour)


def test_a_router_that_fails_its_check_has_no_figures(
    worker_inputs: WorkerInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **_options: object) -> None:
        raise AssertionError("differs from the reference")

    monkeypatch.setattr("bench.router.checked.check_router", wrong)
    facts = worker_inputs.facts(BENCHMARKS[:1])
    assert facts == {
        "checks": {"router | random | linear": "AssertionError: differs from the reference"},
        "figures": [],
    }


def test_a_worker_prepares_loads_and_times(tmp_path: Path) -> None:
    names = [str(BENCHMARKS[0])]
    where = {"benchmarks": names, "folder": str(tmp_path)}
    prepared, loaded, timed = serve(
        {},
        {"do": "prepare", **where},
        {"do": "load", **where, "slowdowns": {}, "seed": 1},
        {"do": "time", "benchmark": names[0], "calls": 2},
    )
    assert prepared == {"ok": {"random": [32, 64]}}
    assert loaded == {"ok": None}
    assert len(timed["ok"]) == 2


def test_what_goes_wrong_is_an_answer_and_the_next_request_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **_options: object) -> None:
        raise CollectionError("bench_router.py: SyntaxError: invalid syntax")

    monkeypatch.setattr("bench.gate.worker_side.collect.collect", wrong)
    load = {"do": "load", "benchmarks": [str(BENCHMARKS[0])], "folder": str(tmp_path), "slowdowns": {}, "seed": 1}
    answers = serve(
        {"router": ["nowhere"]},
        {"do": "time", "benchmark": str(BENCHMARKS[0]), "calls": 2},
        {"do": "facts", "benchmarks": []},
        {"do": "dance"},
        {"do": "collect"},
        load,
    )
    assert [answer["error"] for answer in answers] == [
        "AssertionError: load comes first",
        "AssertionError: prepare comes first",
        "KeyError: 'dance'",
        "bench_router.py: SyntaxError: invalid syntax",
        "ValueError: router 'nowhere' must have the form package.module:Class or path/to/file.py:Class",
    ]


def test_a_router_of_somebodys_file_is_registered_in_fresh_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[str] = []
    monkeypatch.setattr("routers.register_from_path", registered.append)
    load = {"do": "load", "benchmarks": [], "folder": str(tmp_path), "slowdowns": {}, "seed": 1}
    assert serve({"router": ["one.py:One", "two.py:Two"]}, load) == [{"ok": None}]
    assert registered == ["one.py:One", "two.py:Two"]
