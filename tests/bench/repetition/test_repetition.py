"""A repetition in this process, and the same in a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import psutil
import pytest
import torch

from bench.presets import get_preset
from bench.process_tree import MARK
from bench.repetition import process as process_module
from bench.repetition.plan import Plan, router_sources
from bench.repetition.process import EXCERPT, ProcessDiedError, RepetitionProcess, spawn
from bench.repetition.repetition import Repetition
from bench.router.calls import BATCH, RouterCalls, store_input
from bench.router.inputs import Inputs
from bench.timing.group import GroupSpec
from routers import FeedForwardExperts, Router, temporary_router
from routers.registry import restored_registry

SMOKE = get_preset("smoke")
LINEAR = ("linear", "linear@again")

OWN = """
import sys
import torch
from routers import LogitRouter

class OwnRouter(LogitRouter):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.weight = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size))

    def compute_router_logits(self, hidden_states):
        print("a router that talks")
        return hidden_states.to(self.weight.dtype) @ self.weight.T
"""


def spec(*routers: str, rounds: int = 3) -> GroupSpec:
    names = (*LINEAR, *routers)
    return GroupSpec("router | random", "router", "random", names, *LINEAR, False, 32, 1, 2, rounds)


def plan(*routers: str, rounds: int = 3) -> Plan:
    return Plan(SMOKE, "cpu", 1, "host", "warm", {}, None, (spec(*routers, rounds=rounds),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the input `random`."""
    inputs = Inputs(SMOKE, "cpu")
    store_input(tmp_path, "random", inputs.batch("random", 0).hidden_states, FeedForwardExperts(8, 64, 128))
    return tmp_path


def nothing() -> None:
    pass


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = replace(plan("mlp"), language_model={"names": ["tiny"], "sha256": "0"}, routers={"own": "own.py:Own"})
    written.write(tmp_path)
    assert Plan.read(tmp_path) == written


def test_a_router_of_the_suite_needs_no_source_and_another_its_module() -> None:
    class Local(Router):
        pass

    with temporary_router("local", Local):
        sources = router_sources(["linear", "local"])
    assert sources == {"local": f"{__name__}:{Local.__qualname__}"}


def test_a_block_has_every_router_in_every_round(folder: Path) -> None:
    block = Repetition(plan("mlp"), folder).measure(spec("mlp"), None, 0, nothing)
    assert {name: len(rounds) for name, rounds in block.durations.items()} == dict.fromkeys((*LINEAR, "mlp"), 3)
    assert block.failed == {}
    assert all(1 <= calls <= 5 for calls in block.calls_per_round.values())
    again = Repetition(plan("mlp"), folder).measure(spec("mlp"), {"mlp": 2}, 1, nothing)
    assert again.calls_per_round == {"linear": 1, "linear@again": 1, "mlp": 2}
    assert Repetition(plan("mlp"), folder).peak() > 0.01


def test_the_first_process_measures_memory_where_that_is_asked_for(folder: Path) -> None:
    asked = replace(spec("mlp"), memory=True)
    first, second = (Repetition(plan("mlp"), folder).measure(asked, None, index, nothing) for index in range(2))
    assert first.peak_memory.keys() == {*LINEAR, "mlp"}
    assert first.peak_memory["linear"] == first.peak_memory["linear@again"]
    assert second.peak_memory == {}


def test_a_router_that_fails_while_it_is_timed_is_left_out_and_the_block_measured_again(folder: Path) -> None:
    class Tired(Router):
        calls = 0

        def compute_router_probabilities(self, hidden_states: torch.Tensor) -> torch.Tensor:
            Tired.calls += 1
            if Tired.calls > 3:
                raise ArithmeticError("too\ntired")
            return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)

    with temporary_router("tired", Tired):
        block = Repetition(plan("tired"), folder).measure(spec("tired"), None, 0, nothing)
    assert block.failed == {"tired": "ArithmeticError: too tired"}
    assert {name: len(rounds) for name, rounds in block.durations.items()} == dict.fromkeys(LINEAR, 3)


def test_what_is_loaded_is_what_was_stored_in_memory_of_its_own(folder: Path) -> None:
    hidden_states = Inputs(SMOKE, "cpu").batch("random", 0).hidden_states
    calls = [RouterCalls(Inputs(SMOKE, "cpu"), folder) for _ in range(2)]
    first, second = (each._stored("random")[BATCH] for each in calls)
    assert torch.equal(first, hidden_states)
    first.zero_()
    assert torch.equal(second, hidden_states)


@pytest.fixture
def own_router(folder: Path) -> Plan:
    path = folder / "own_router.py"
    path.write_text(OWN)
    return replace(plan("own"), routers={"own_router": f"{path}:OwnRouter"}, groups=(spec("own_router", rounds=200),))


@pytest.fixture
def process(folder: Path, own_router: Plan) -> Iterator[RepetitionProcess]:
    own_router.write(folder)
    with RepetitionProcess(folder) as process:
        yield process


def test_a_process_of_its_own_measures_the_same_though_a_router_prints_and_ends_with_those_who_asked(
    process: RepetitionProcess, own_router: Plan
) -> None:
    ticks: list[None] = []
    block = process.measure(own_router.groups[0], {"own_router": 2}, 0, lambda: ticks.append(None))
    assert {name: len(rounds) for name, rounds in block.durations.items()} == {
        "linear": 200,
        "linear@again": 200,
        "own_router": 200,
    }
    assert block.calls_per_round == {"linear": 1, "linear@again": 1, "own_router": 2}
    assert 0 < len(ticks) <= 201
    assert process.peak() > 0.01
    # It ends with those who asked.
    assert process._process.stdin is not None
    process._process.stdin.close()
    process._process.wait(timeout=20)


def test_a_process_that_is_killed_says_how_it_died(process: RepetitionProcess, own_router: Plan) -> None:
    threading.Timer(0.5, lambda: os.kill(process._process.pid, signal.SIGKILL)).start()  # while torch is imported
    with pytest.raises(ProcessDiedError, match="killed by SIGKILL"):
        process.measure(own_router.groups[0], None, 0, nothing)


def test_a_process_that_cannot_begin_says_why(folder: Path) -> None:
    with (
        RepetitionProcess(folder / "gone") as process,
        pytest.raises(ProcessDiedError, match=r"exit code 1: .*gone"),
    ):
        process.peak()


def test_leaving_the_context_ends_it(folder: Path, own_router: Plan) -> None:
    own_router.write(folder)
    with RepetitionProcess(folder) as process:
        pid = process._process.pid
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(pid)


def ended(pid: int) -> bool:
    """Whether a process is gone within some seconds; a zombie is."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def worker_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], RepetitionProcess]:
    """A process that runs some lines instead of a worker's, and is not waited for for long."""
    monkeypatch.setattr(process_module, "ENDING_S", 0.5)

    def start(code: str) -> RepetitionProcess:
        def spawned(folder: Path, said: IO[bytes], mark: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | {MARK: mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
                start_new_session=True,
            )

        monkeypatch.setattr(process_module, "spawn", spawned)
        return RepetitionProcess(tmp_path)

    return start


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("input(); print('{\"answer\": {\"dura', end='', flush=True); os._exit(3)", "exit code 3"),
        # A child that has inherited the pipe outlives its parent.
        ("input(); os.fork() or time.sleep(60); os._exit(7)", "exit code 7"),
        ("input(); os.close(1); time.sleep(60)", "killed by SIGKILL"),
        ("input(); print('x' * 10**7, file=sys.stderr); os._exit(5)", "exit code 5: x{100}"),
    ],
    ids=["torn answer", "forked", "closed its answers", "talked"],
)
def test_however_a_process_dies_it_is_noticed_and_said_shortly(
    code: str, said: str, worker_that: Callable[[str], RepetitionProcess]
) -> None:
    began = time.monotonic()
    with (
        worker_that(f"import os, sys, time\n{code}") as process,
        pytest.raises(ProcessDiedError, match=f"^{said}") as died,
    ):
        process.peak()
    assert time.monotonic() - began < 40
    assert len(str(died.value)) <= EXCERPT


def test_what_a_router_has_started_ends_with_the_process(worker_that: Callable[[str], RepetitionProcess]) -> None:
    code = (
        "import subprocess, time\n"
        "input()\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('{\"answer\":', child.pid, '}', flush=True)\n"
        "time.sleep(600)"
    )
    with worker_that(code) as process:
        child = int(process.peak())
        assert psutil.pid_exists(child)
    assert ended(child)


def own_plan(path: Path, lines: str, name: str = "own") -> Plan:
    """With a router of a file that makes itself as `linear` does, after some lines of its own."""
    path.write_text(
        "import os, sys, threading, time\nfrom routers.scorers.linear import LinearRouter\n"
        f"class {path.stem}(LinearRouter):\n    def __init__(self, **sizes):\n        super().__init__(**sizes)\n"
        f"        {lines}\n"
    )
    return replace(plan(name), routers={name: f"{path}:{path.stem}"})


def test_whatever_routers_do_the_others_are_measured(folder: Path) -> None:
    doing = {
        "reads": "assert sys.stdin.readline() == ''",
        "changes_its_folder": "os.chdir('/'); print('x' * 100000)",
        "starts_a_thread": "threading.Thread(target=time.sleep, args=(600,)).start()",
        "raises": "raise ArithmeticError('only\\nhere')",
    }
    routers = {name: own_plan(folder / f"{name}.py", lines, name).routers[name] for name, lines in doing.items()}
    replace(plan(*doing), routers=routers).write(folder)
    with RepetitionProcess(folder) as process:
        block = process.measure(spec(*doing), None, 0, nothing)
        assert block.failed == {"raises": "ArithmeticError: only here"}
        assert block.durations.keys() == {*LINEAR, *doing} - {"raises"}
        assert process.measure(spec(*doing), None, 1, nothing).durations.keys() == block.durations.keys()


def test_a_router_that_cannot_be_imported_by_the_process_fails_alone(folder: Path) -> None:
    path = folder / "own.py"
    path.write_text("raise RuntimeError('only here')")
    wrong = replace(plan("own"), routers={"own": f"{path}:Own"})
    with restored_registry():
        block = Repetition(wrong, folder).measure(spec("own"), None, 0, nothing)
    assert block.durations.keys() == set(LINEAR)
    assert block.failed["own"].endswith(f"{path} cannot be imported: RuntimeError('only here')")


def test_a_router_keeps_the_name_that_it_has_in_the_run(folder: Path) -> None:
    renamed = own_plan(folder / "own.py", "pass", "of_another_name")
    with restored_registry():
        block = Repetition(renamed, folder).measure(spec("of_another_name"), None, 0, nothing)
    assert block.failed == {}


def test_a_process_whose_run_is_killed_ends_while_a_router_hangs_and_clears_away(folder: Path, tmp_path: Path) -> None:
    own_plan(folder / "own.py", "open(__file__ + '.begun', 'w'); time.sleep(600)").write(folder)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for path in list(folder.glob("*.*")):
        path.rename(scratch / path.name)
    written = Plan.read(scratch)
    replace(written, routers={"own": f"{scratch / 'own.py'}:own"}).write(scratch)
    with tempfile.TemporaryFile() as said:
        worker = spawn(scratch, said, secrets.token_hex(16))
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(b'{"group": "router | random", "calls_per_round": null, "index": 0}\n')
        deadline = time.monotonic() + 60
        while not (scratch / "own.py.begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.stdin.close()
        worker.stdout.close()  # as a run does that is killed
        assert ended(worker.pid)
        worker.wait()
    assert not scratch.exists()


def test_a_class_inside_a_function_is_known_by_the_file_that_registers_it(folder: Path) -> None:
    path = folder / "own.py"
    path.write_text(
        "from routers import register_router\nfrom routers.scorers.linear import LinearRouter\n"
        "def make():\n    @register_router('inner')\n    class Inner(LinearRouter):\n        pass\nmake()\n"
    )
    inner = replace(plan("inner"), routers={"inner": f"{path}:make.<locals>.Inner"})
    with restored_registry():
        assert Repetition(inner, folder).measure(spec("inner"), None, 0, nothing).failed == {}
