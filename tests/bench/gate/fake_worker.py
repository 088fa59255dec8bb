"""Stands for `bench/gate/worker.py` in a made-up checkout: no torch, no measurement, what `fake.json` says instead.

A file of its own, because it is copied there and run as a worker is. `FakeRevision` alone answers without a process.

Keys of `fake.json`, none of them needed:
    benchmarks  names;  protocol;  routers: the path that it says it has imported;  shapes: input -> [T, D]
    checks      benchmark -> what is wrong with it;  figures: [benchmark, figure, value]
    ns          benchmark -> nanoseconds of a call;  noise: of a process, as the sd of a logarithm
    on          verb -> what happens instead of an answer (see `misbehave`)
    log         a file: one line for each request, [process, checkout, request]
    pause_s     before each answer to `time`
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BENCHMARKS = ["router | random | linear", "router | random | hash"]


class FakeRevision:
    """One worker's answers."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.script: dict[str, Any] = json.loads((checkout / "fake.json").read_text())
        self.loaded: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if log := self.script.get("log"):
            with open(log, "a") as file:
                file.write(json.dumps([os.getpid(), self.checkout.name, request]) + "\n")
        verb = request.pop("do")
        if self.script.get("on", {}).get(verb) == "error":
            return {"error": "ValueError: no good"}
        return {"ok": getattr(self, verb)(**request)}

    def collect(self) -> dict[str, Any]:
        return {
            "protocol": self.script.get("protocol", 1),
            "routers": self.script.get("routers", str(self.checkout / "routers" / "__init__.py")),
            "benchmarks": self.script.get("benchmarks", BENCHMARKS),
        }

    def prepare(self, benchmarks: list[str], folder: str) -> dict[str, list[int]]:
        assert Path(folder).is_dir()
        shapes = {name.split(" | ")[1]: [32, 64] for name in benchmarks}
        return shapes | self.script.get("shapes", {})

    def facts(self, benchmarks: list[str]) -> dict[str, Any]:
        wrong = self.script.get("checks", {})
        counts = {"parameters": 512, "flops": 1024, "peak_memory": None}
        figures = [[name, count, value] for name in benchmarks for count, value in counts.items()]
        return {
            "checks": {name: wrong.get(name) for name in benchmarks},
            "figures": self.script.get("figures", figures),
        }

    def load(self, **what: Any) -> None:
        assert Path(what["folder"]).is_dir()
        self.loaded = what

    def time(self, benchmark: str, calls: int) -> list[int]:
        assert benchmark in self.loaded["benchmarks"]
        time.sleep(self.script.get("pause_s", 0))
        # All calls of a process are off by the same factor.
        luck = random.Random(f"{self.loaded['seed']} {benchmark}").lognormvariate(0, self.script.get("noise", 0.002))
        slowdown = 1 + self.loaded["slowdowns"].get(benchmark, 0.0)
        return [round(self.script.get("ns", {}).get(benchmark, 1_000_000) * luck * slowdown)] * calls


def misbehave(how: str | None) -> None:
    """What else can happen to a process."""
    if how == "exit":
        print("Traceback:\n  somewhere\nMemoryError: too large\n", file=sys.stderr, flush=True)
        os._exit(3)
    elif how == "exit in silence":
        os._exit(4)
    elif how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("child").write_text(str(child.pid))
        time.sleep(600)
    elif how == "half a line":
        os.write(1, b'{"ok": ')
        os._exit(0)
    elif how == "flow":
        while True:
            os.write(1, b"x" * 1000)
            time.sleep(0.001)
    elif how == "flood":
        while True:
            os.write(1, b"x" * (1 << 16))
    elif how == "leave":  # a child in a session of its own, whose parent lives
        child = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
        Path("child").write_text(str(child.pid))
        os.write(1, b"garbage\n")
        time.sleep(600)
    elif how == "orphan":  # one whose parent is gone, of a worker that is gone
        subprocess.run(["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 & echo $! > child"], check=True)
        time.sleep(0.3)  # by then it has a session of its own
        os._exit(0)
    elif how == "colour":
        print("\x1b[2J\x1b]0;title\x07\u202eno regression", file=sys.stderr, flush=True)
        os._exit(1)
    elif how == "close":
        os.close(1)
        time.sleep(600)
    elif how is not None and how.startswith("signal "):
        os.kill(os.getpid(), int(how.removeprefix("signal ")))
    elif how is not None and how.startswith("hex "):
        os.write(1, bytes.fromhex(how.removeprefix("hex ")) + b"\n")
        sys.stdin.readline()
    elif how is not None and how.startswith("say "):
        os.write(1, how.removeprefix("say ").encode() + b"\n")
        sys.stdin.readline()


def main() -> None:
    revision = FakeRevision(Path.cwd())
    misbehave(revision.script.get("on", {}).get("start"))
    for line in sys.stdin:
        request = json.loads(line)
        misbehave(revision.script.get("on", {}).get(request["do"]))
        print(json.dumps(revision.answer(request)), flush=True)


if __name__ == "__main__":
    main()
