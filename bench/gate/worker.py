"""One revision's side of the gate: prepares its benchmarks and times them on request.

Run as `python -m bench.gate.worker` in a checkout, so that everything it imports is that checkout's. Each line on
standard input is a request, {"do": verb, ...}; each is answered by one line on standard output, {"ok": answer} or
{"error": one line}. One process collects, prepares and states facts; others, fresh ones, load what it has stored and
time.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

import routers
from bench.case import Case
from bench.gate.errors import CollectionError
from bench.gate.worker_side.timed_benchmarks import TimedBenchmarks
from bench.presets import get_preset

if TYPE_CHECKING:
    from bench.gate.worker_side.worker_inputs import WorkerInputs

PROTOCOL = 1
"""Raised by a change of the requests: both revisions must speak the gate's."""


class Worker:
    """Answers requests.

    Args:
        requests: where they come from; unbuffered, because two processes read it in turn.
        answers: where they are answered; unbuffered, too.
        options: of the command line.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, options: argparse.Namespace) -> None:
        self._requests = requests
        self._answers = answers
        self._options = options
        self._inputs: WorkerInputs | None = None
        self._timed: TimedBenchmarks | None = None

    def serve(self) -> None:
        """Until standard input ends."""
        verbs: dict[str, Callable[..., Any]] = {
            "collect": self._collect,
            "prepare": self._prepare,
            "facts": self._facts,
            "load": self._load,
            "time": self._time,
        }
        while line := self._requests.readline():
            request = json.loads(line)
            try:
                self._answer({"ok": verbs[request.pop("do")](**request)})
            except CollectionError as error:
                self._answer({"error": str(error)})
            except Exception as error:  # a revision's code may fail in any way; the gate says whose it was
                self._answer({"error": f"{type(error).__name__}: {error}"})

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer).encode() + b"\n")

    def _collect(self) -> dict[str, Any]:
        from bench.gate.worker_side.collect import collect  # here, because only this process needs pytest

        options = self._options
        benchmarks = collect(options.preset, options.select, options.router)
        return {"protocol": PROTOCOL, "routers": routers.__file__, "benchmarks": [str(each) for each in benchmarks]}

    def _prepare(self, benchmarks: list[str], folder: str) -> dict[str, list[int]]:
        """Make and store what fresh processes will load; returns input -> [T, D]."""
        # Here, because only this process needs all that it imports.
        from bench.gate.worker_side.worker_inputs import WorkerInputs

        options = self._options
        self._inputs = WorkerInputs(
            get_preset(options.preset), tuple(options.model), _parse(benchmarks), options.device
        )
        self._inputs.store(Path(folder))
        return self._inputs.shapes()

    def _facts(self, benchmarks: list[str]) -> dict[str, Any]:
        assert self._inputs is not None, "prepare comes first"
        return self._inputs.facts(_parse(benchmarks))

    def _load(self, benchmarks: list[str], folder: str, slowdowns: dict[str, float], seed: int) -> None:
        for router in self._options.router:
            routers.register_from_path(router)
        preset = get_preset(self._options.preset)
        self._timed = TimedBenchmarks(preset, Path(folder), _parse(benchmarks), slowdowns, seed, self._options.device)

    def _time(self, benchmark: str, calls: int) -> list[int]:
        assert self._timed is not None, "load comes first"
        return self._timed.time(Case.parse(benchmark), calls)


def _parse(names: list[str]) -> list[Case]:
    return [Case.parse(name) for name in names]


def main() -> None:
    """Take standard output for the answers, and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate.worker")
    parser.add_argument("--preset", required=True)
    parser.add_argument("--select")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--router", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # What anything prints from here on, pytest and a user's router among them, must not be taken for an answer.
    os.dup2(2, 1)
    torch.set_num_threads(options.threads)
    Worker(os.fdopen(0, "rb", buffering=0, closefd=False), answers, options).serve()


if __name__ == "__main__":
    main()
