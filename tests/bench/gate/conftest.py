"""Made-up revisions for the gate: their workers say what a script tells them to, in processes or without."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.gate.command import main
from bench.gate.errors import WorkerError
from bench.gate.gate import judge
from bench.gate.revisions.git import resolve
from bench.gate.settings import GateSettings, Rules
from bench.presets import get_preset
from reports.loading.gate_file import read_gate

ROOT = Path(__file__).parents[3]
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
IDENTITY = {f"GIT_{role}_{what}": "nobody@nowhere" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Repository:
    """A git checkout whose `bench.gate.worker` is the fake one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")
        (path / ".gitignore").write_text(".benchmarks/\nbuild/\n")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str = "a change", **script: Any) -> str:
        """The commit of a revision that behaves so."""
        write_checkout(self.path, script)
        return self.commit_all(message)

    def commit_all(self, message: str = "a change") -> str:
        """The commit of the files as they are."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    @property
    def worktrees(self) -> list[str]:
        """Those besides the checkout itself."""
        return self.git("worktree", "list", "--porcelain").split("worktree ")[2:]


def write_checkout(path: Path, script: dict[str, Any]) -> Path:
    gate = path / "bench" / "gate"
    gate.mkdir(parents=True, exist_ok=True)
    for package in (gate.parent, gate):
        (package / "__init__.py").touch()
    shutil.copy(FAKE_WORKER, gate / "worker.py")
    (path / "fake.json").write_text(json.dumps(script))
    return path


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def git_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings, and somebody to commit."""
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", **IDENTITY}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(git_environment: None, tmp_path: Path) -> Repository:
    """An empty repository, to be filled with commits."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def make_checkout(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a fake worker, no git."""
    return lambda name="checkout", **script: write_checkout(tmp_path / name, script)


@pytest.fixture
def seeded() -> Iterator[None]:
    """Orders and seeds that are drawn are the same in every run of a test."""
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The gate's own time; what processes and locks wait by goes on as ever."""
    clock = Clock()
    for module in ("verdicts.sampling", "verdicts.process_triple", "gate", "self_test"):
        monkeypatch.setattr(f"bench.gate.{module}.time", clock)
    return clock


@pytest.fixture(scope="session")
def fake_worker() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("fake_worker", FAKE_WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def local_workers(
    fake_worker: ModuleType, clock: Clock, seeded: None, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """Fake workers without processes, for hundreds of comparisons in seconds: `make` is a WorkerProcess.

    Each takes `start_s` to start and `time_s` for an answer to `time`, and as long as its calls if that is asked for.
    """
    costs = SimpleNamespace(start_s=1.0, time_s=0.01, calls_take_time=False)

    class LocalWorker:
        def __init__(self, name: str, checkout: Path, options: object = (), limit_s: float = 0.0) -> None:
            self.name = name
            self._revision = fake_worker.FakeRevision(checkout)
            self._request: dict[str, Any] = {}
            clock.now += costs.start_s

        def send(self, verb: str, **arguments: Any) -> None:
            self._request = json.loads(json.dumps({"do": verb} | arguments))

        def receive(self) -> Any:
            clock.now += costs.time_s if self._request["do"] == "time" else 0.0
            answer = self._revision.answer(self._request)
            if "error" in answer:
                raise WorkerError(f"{self.name}: {answer['error']}")
            if costs.calls_take_time and isinstance(answer["ok"], list):
                clock.now += sum(answer["ok"]) / 1e9
            return json.loads(json.dumps(answer["ok"]))

        def ask(self, verb: str, **arguments: Any) -> Any:
            self.send(verb, **arguments)
            return self.receive()

        def __enter__(self) -> LocalWorker:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("bench.gate.revisions.workspace.WorkerProcess", LocalWorker)
    costs.make = LocalWorker
    return costs


class Memory:
    """Keeps results as a journal does, and can be told to fail at the n-th."""

    def __init__(self, results: dict[str, Any] | None = None, fail_at: int | None = None) -> None:
        self.results = dict(results or {})
        self.appended = 0
        self._fail_at = fail_at

    def get(self, key: str) -> Any | None:
        return self.results.get(key)

    def append(self, key: str, result: Any) -> None:
        if self.appended == self._fail_at:
            raise KeyboardInterrupt
        self.appended += 1
        self.results[key] = json.loads(json.dumps(result))


@pytest.fixture
def memory() -> type[Memory]:
    """A journal without a file."""
    return Memory


@pytest.fixture
def no_bar() -> Callable[[str, int], AbstractContextManager[Any]]:
    """A progress bar that shows nothing."""
    return lambda what, steps: nullcontext(SimpleNamespace(update=lambda n=1: None))


@pytest.fixture
def settings() -> GateSettings:
    """Those of a gate that has time for everything."""
    return GateSettings(get_preset("smoke"), None, Rules(), budget_s=1000.0, limit_s=30.0, threads=1)


@pytest.fixture
def judged(
    repository: Any, local_workers: Any, settings: GateSettings, memory: Any, no_bar: Any
) -> Callable[..., dict[str, Any]]:
    """The gate's JSON for two revisions that behave so."""

    def run(base: dict[str, Any], head: dict[str, Any], *expect: str, kept: Any = None) -> dict[str, Any]:
        repository.commit("base", **base)
        repository.commit("head", **head)
        revisions = resolve(repository.path, "main~1"), resolve(repository.path, "main")
        try:
            document = judge(repository.path, *revisions, settings, expect, ["a notice"], kept or memory(), no_bar)
        finally:
            assert repository.worktrees == []
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        result = repository.path.parent / "result.json"
        result.write_text(json.dumps(document))
        read_gate(result)  # reports take whatever the gate writes
        return document

    return run


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The command with the smallest preset, run in the current folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the reports
    handler = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: main([*arguments, "--preset", "smoke"])
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def gate(repository: Repository, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command in a repository of made-up revisions."""
    monkeypatch.chdir(repository.path)
    return command


@pytest.fixture
def quick(gate: Callable[..., int], local_workers: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Without processes for workers and reports."""
    monkeypatch.setattr("bench.gate.command._show", lambda *_: None)
    return gate
