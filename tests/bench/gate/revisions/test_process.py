from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.gate.errors import WorkerError
from bench.gate.revisions.process import ENVIRONMENT, WorkerProcess

MakeCheckout = Callable[..., Path]


@pytest.fixture
def start(make_checkout: MakeCheckout) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a fake worker that behaves so."""
    with contextlib.ExitStack() as stack:

        def start(limit_s: float = 30.0, options: tuple[str, ...] = (), **script: Any) -> WorkerProcess:
            return stack.enter_context(WorkerProcess("head main (abc)", make_checkout(**script), options, limit_s))

        yield start


def alive(pid: int) -> bool:
    """Zombies, which wait for a parent to look at them, are not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_come_in_the_order_of_the_requests(start: Callable[..., WorkerProcess]) -> None:
    worker = start(benchmarks=["a | b | c"])
    assert worker.ask("collect")["benchmarks"] == ["a | b | c"]
    worker.send("collect")
    assert worker.receive()["protocol"] == 1


def test_a_long_answer_comes_whole(start: Callable[..., WorkerProcess]) -> None:
    names = [f"router | random | {index:05}" for index in range(20_000)]
    assert start(benchmarks=names).ask("collect")["benchmarks"] == names


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("error", "ValueError: no good (while asked to collect)"),
        ("exit", "its worker died (exit code 3) while asked to collect: MemoryError: too large"),
        ("exit in silence", "its worker died (exit code 4) while asked to collect"),
        ("signal", "its worker died (killed by SIGSEGV) while asked to collect"),
        ("half a line", "its worker died (exit code 0) while asked to collect"),
        ("say garbage", "answered b'garbage\\n' while asked to collect"),
        ("say 5", "answered b'5\\n' while asked to collect"),
        ('say "ok"', "answered b'\"ok\"\\n' while asked to collect"),
        ("say {}", "answered b'{}\\n' while asked to collect"),
        ('say {"no": 1}', "answered b'{\"no\": 1}\\n' while asked to collect"),
    ],
)
def test_a_failure_is_one_line_that_names_the_revision_and_the_request(
    start: Callable[..., WorkerProcess], behaviour: str, complaint: str
) -> None:
    with pytest.raises(WorkerError) as raised:
        start(on={"collect": behaviour}).ask("collect")
    assert str(raised.value) == f"head main (abc): {complaint}"


def test_the_benchmark_in_question_is_named(start: Callable[..., WorkerProcess]) -> None:
    with pytest.raises(WorkerError, match=r"while asked to time router \| random \| linear$"):
        start(on={"time": "exit in silence"}).ask("time", benchmark="router | random | linear", calls=3)


def test_one_that_never_started_is_named_at_the_first_request(start: Callable[..., WorkerProcess]) -> None:
    worker = start(on={"start": "exit"})
    wait_for(lambda: not alive(worker._process.pid))
    with pytest.raises(WorkerError, match=r"died \(exit code 3\) while asked to collect: MemoryError: too large"):
        worker.ask("collect")


def test_one_that_does_not_import_says_why(make_checkout: MakeCheckout) -> None:
    checkout = make_checkout()
    (checkout / "bench" / "__init__.py").write_text("this is no Python")
    with WorkerProcess("base", checkout, [], 30) as worker, pytest.raises(WorkerError, match="SyntaxError"):
        worker.ask("collect")


def test_one_that_hangs_is_ended_with_its_children(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    worker, child_file = start(limit_s=0.2, on={"start": "hang"}), tmp_path / "checkout" / "child"
    wait_for(lambda: child_file.exists() and child_file.read_text() != "")
    with pytest.raises(WorkerError, match=r"abc\): no answer within 0.2 s while asked to collect; ended"):
        worker.ask("collect")
    child = int(child_file.read_text())
    assert worker._process.poll() is not None
    wait_for(lambda: not alive(child))


@pytest.mark.parametrize("how", ["leave", "orphan"])
def test_a_child_in_a_session_of_its_own_is_ended_too(
    start: Callable[..., WorkerProcess], tmp_path: Path, how: str
) -> None:
    worker, child_file = start(on={"collect": how}), tmp_path / "checkout" / "child"
    with pytest.raises(WorkerError, match=r"abc\): (answered b'garbage|its worker died \(exit code 0\))"):
        worker.ask("collect")
    worker.kill()
    assert not alive(int(child_file.read_text()))


def test_the_limit_holds_while_bytes_flow(start: Callable[..., WorkerProcess]) -> None:
    worker = start(limit_s=1.0, on={"collect": "flow"})
    began = time.monotonic()
    with pytest.raises(WorkerError, match="no answer within 1 s while asked to collect; ended"):
        worker.ask("collect")
    assert time.monotonic() - began < 5
    assert worker._process.poll() is not None


def test_an_answer_has_a_longest_length(start: Callable[..., WorkerProcess]) -> None:
    with pytest.raises(WorkerError, match="more than 8,388,608 bytes of an answer while asked to collect; ended"):
        start(on={"collect": "flood"}).ask("collect")


def test_one_that_reads_nothing_does_not_stop_the_gate(start: Callable[..., WorkerProcess]) -> None:
    worker = start(limit_s=0.5, on={"start": "close"})
    with pytest.raises(WorkerError, match=r"no answer within 0.5 s while asked to facts; ended"):
        worker.send("facts", benchmarks=["x" * 100] * 10_000)  # more than a pipe holds


def test_what_it_says_cannot_move_the_cursor_or_fill_the_screen(start: Callable[..., WorkerProcess]) -> None:
    for how in (
        "colour",
        'say {"error": "\\u001b[2J\\u202eNo regression"}',
        "say \x1b[2J",
        f'say {{"error": "{"x " * 9999}"}}',
    ):
        with pytest.raises(WorkerError) as raised:
            start(on={"collect": how}).ask("collect")
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 500


def test_a_signal_without_a_name(start: Callable[..., WorkerProcess]) -> None:
    with pytest.raises(WorkerError, match=r"died \(killed by signal 37\) while asked to collect"):
        start(on={"collect": "signal 37"}).ask("collect")


def test_an_answer_to_another_question_is_refused(start: Callable[..., WorkerProcess]) -> None:
    with pytest.raises(WorkerError) as raised:
        start(on={"collect": 'say {"ok": [1]}'}).ask("collect")
    assert str(raised.value) == (
        "head main (abc): answered [1] while asked to collect, "
        "expected protocol, the path of routers and the names of benchmarks, each once"
    )


def test_a_worker_ends_with_its_context(make_checkout: MakeCheckout) -> None:
    with WorkerProcess("base", make_checkout(), [], 30) as worker:
        worker.ask("collect")
        assert alive(worker._process.pid)
    assert not alive(worker._process.pid)


def test_it_imports_its_own_checkout_only_and_knows_the_environment(make_checkout: MakeCheckout) -> None:
    checkout = make_checkout()
    program = checkout / "bench" / "gate" / "worker.py"
    program.write_text(
        "import json, os, sys\n"
        "import bench\n"
        "sys.stdin.readline()\n"
        "print(json.dumps({'ok': [bench.__file__, sys.argv[1:], dict(os.environ)]}), flush=True)\n"
    )
    with WorkerProcess("base", checkout, ["--preset", "smoke"], 30) as worker:
        path, options, environment = worker.ask("say")
    assert Path(path) == checkout / "bench" / "__init__.py"
    assert options == ["--preset", "smoke"]
    assert environment.items() >= ENVIRONMENT.items()
    assert environment["PATH"] == os.environ["PATH"]
    assert not list(checkout.rglob("__pycache__"))


def test_a_worker_without_a_gate_ends(make_checkout: MakeCheckout) -> None:
    """Of a gate that is killed nothing is left but the end of its pipes."""
    with WorkerProcess("base", make_checkout(), [], 30) as worker:
        worker.ask("collect")
        assert worker._process.stdin is not None
        worker._process.stdin.close()
        assert worker._process.wait(timeout=20) == 0
