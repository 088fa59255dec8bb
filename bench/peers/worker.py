"""The process of a repetition: `python -m bench.peers.worker REQUEST`, one work in one dtype, answered in JSON.

Axes: T tokens, D hidden size.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.peers.catalogue import get_work
from bench.peers.work import MODES, OURS, TWIN, CannotRunError, Subject, Work, expect_close, gradients
from bench.timing.clocks import Clock
from bench.timing.interleave import balanced_calls, measure_block, one_line
from bench.timing.memory import peak_memory
from bench.timing.modes import ClockMode
from bench.timing.placement import padding

CHECKED_TOKENS = 8
"""So many tokens are compared with the reference, which takes one after the other."""
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def resident_peak(call: Any) -> int | None:
    """Bytes by which the process grows at a call's worst moment, gradients included; None where Linux does not say.

    torch's own count leaves out memory that is not of its allocators, as that of large gradients.
    """
    try:
        CLEAR_REFS.write_text("5")
        before = _status("VmRSS")
        call()
        return max(_status("VmHWM") - before, 0)
    except OSError:
        return None


def device_peak(call: Any) -> int | None:
    """Bytes that torch's allocator gives out on the card at a call's worst moment."""
    return peak_memory(call, "cuda")


PEAKS = {"cpu": resident_peak, "cuda": device_peak}


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def make(work: Work, dtype: torch.dtype, wanted: Sequence[str] = ()) -> tuple[dict[str, Subject], dict[str, str]]:
    """The subjects that can do the work, and why others cannot; of peers those whose name has a wanted word."""
    ready, refused = {}, {}
    for name, create in work.subjects(dtype):
        if wanted and name not in (OURS, TWIN) and not any(word in name for word in wanted):
            continue
        try:
            ready[name] = create()
        except CannotRunError as reason:
            refused[name] = str(reason)
    return ready, refused


def check(
    work: Work, subjects: Mapping[str, Subject], tokens: Tensor, unable: dict[str, str] | None = None
) -> dict[str, str]:
    """Compare each with the float64 reference; what is wrong with those that are.

    A backend of transformers that cannot run on the device takes its reason in `unable`.
    """
    few = tokens[:CHECKED_TOKENS]
    expected = work.reference(few)
    wrong: dict[str, str] = {}
    for name, subject in subjects.items():
        try:
            with torch.no_grad():
                expect_close(subject.forward(few), expected, tokens.dtype)
        except ImportError as error:
            (wrong if unable is None else unable)[name] = one_line(error)
        except Exception as error:  # a peer may fail in any way; the others go on
            wrong[name] = one_line(error)
    return wrong


def measure(work: Work, request: Mapping[str, Any]) -> dict[str, Any]:
    """Each mode and number of tokens: durations, and in the first process memory; and who was left out, and why."""
    dtype = getattr(torch, request["dtype"])
    subjects, refused = make(work, dtype, request["peers"])
    clock = ClockMode.parse(None, device=work.device).clock()
    generator, system = torch.Generator().manual_seed(0), random.SystemRandom()
    kept = padding(system)
    groups = []
    for number in request["tokens"]:
        tokens = torch.randn(number, work.sizes.hidden_size, generator=generator).to(work.device, dtype)
        here, out = {}, dict(refused)
        for name, subject in subjects.items():
            try:
                work.refuse(name, number, dtype)
                here[name] = subject
            except CannotRunError as reason:
                out[name] = str(reason)
        wrong = check(work, here, tokens, out)
        sound = {name: subject for name, subject in here.items() if name not in wrong and name not in out}
        for mode in work.modes if OURS in sound else ():
            groups.append(
                {"tokens": number, "mode": mode, "left_out": out, "wrong": wrong}
                | _time(mode, sound, tokens, request, clock, f"{number} {mode} {request['index']}")
            )
    del kept
    return {"groups": groups, "sizes": str(work.sizes)}


def _time(
    mode: str,
    subjects: Mapping[str, Subject],
    tokens: Tensor,
    request: Mapping[str, Any],
    clock: Clock,
    seed: str,
) -> dict[str, Any]:
    def forget(subject: Subject) -> None:
        for parameter in subject.parameters:
            parameter.grad = None

    with gradients(mode != "forward"):
        calls = {name: MODES[mode](subject, tokens) for name, subject in subjects.items()}
        resets = {name: (lambda subject=subject: forget(subject)) for name, subject in subjects.items()}
        warm = measure_block(calls, clock, rounds=request["warmup"], seed=seed, resets=resets)
        durations = measure_block(
            calls,
            clock,
            rounds=request["rounds"],
            seed=seed,
            calls_per_round=balanced_calls(warm),
            resets=resets,
        )
        memory = {}
        for name, call in calls.items() if request["index"] == 0 else ():
            memory[name] = PEAKS[tokens.device.type](call)
            resets[name]()
    return {"durations": durations, "memory": memory}


def main() -> None:
    """Measure what the argument asks for."""
    request = json.loads(sys.argv[1])
    torch.set_num_threads(request["threads"])
    print(json.dumps(measure(get_work(request["work"], request["device"]), request)))


if __name__ == "__main__":
    main()
