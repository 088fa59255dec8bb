"""The process of a repetition: `python -m bench.repetition.worker FOLDER`, where FOLDER has the plan and the inputs.

Each line on standard input asks for something; it is answered by lines on standard output, {"tick": rounds} while it
goes on and {"answer": ...} at its end. It ends when standard input ends, and at once, whatever it does, when nobody
reads its answers any more: then the run is dead, and FOLDER is removed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bench.repetition.plan import Plan
from bench.repetition.repetition import Repetition

TICK_S = 0.5
"""A line for every round would wake the run up, which shares the machine with what is measured."""


class Ticks:
    """Says from time to time how many rounds are done."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._count = 0
        self._next = 0.0

    def __call__(self) -> None:
        """One more round."""
        self._count += 1
        if (now := time.monotonic()) >= self._next:
            answer(self._answers, tick=self._count)
            self._count, self._next = 0, now + TICK_S


def answer(answers: BinaryIO, **content: Any) -> None:
    """One line."""
    answers.write(json.dumps(content).encode() + b"\n")


def end_with_the_run(folder: Path, answers: BinaryIO) -> None:
    """Wait until nobody reads the answers any more; then clear away, and end this process and its group."""
    poll = select.poll()
    poll.register(answers, 0)  # an error is reported unasked
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def serve(folder: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    """Until the requests end.

    {"group": key, "calls_per_round": ..., "index": ...} asks for a block, {} for the machine's peak.
    """
    plan = Plan.read(folder)
    torch.set_num_threads(plan.threads)
    repetition = Repetition(plan, folder)
    # Garbage is collected before every block: not to go through all that was imported saves a third of a second each.
    gc.freeze()
    groups = {spec.key: spec for spec in plan.groups}
    while line := requests.readline():
        request = json.loads(line)
        if request:
            spec = groups[request.pop("group")]
            answer(answers, answer=asdict(repetition.measure(spec, **request, tick=Ticks(answers))))
        else:
            answer(answers, answer=repetition.peak())


def main() -> None:
    """Take standard input and output for requests and answers, and serve."""
    folder, requests, answers = Path(sys.argv[1]), os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    # What a router prints from here on must not be taken for an answer, and it must not read requests.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=end_with_the_run, args=(folder, answers), daemon=True).start()
    serve(folder, requests, answers)


if __name__ == "__main__":
    main()
