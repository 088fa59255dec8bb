"""How much memory one call needs at its worst moment, as torch's own allocators count it, and what Python maps."""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch
from torch.autograd.profiler import profile

from bench.timing.interleave import Call
from harness.assets.errors import AssetError

# Kineto, which works under torch's profiler, writes lines of its own to standard error for every profile, at every
# level below this one. It reads the variable when the first profile begins; whoever set it has his way.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

_MEMORY_NAME = b'"[memory]"'
_MEMORY_EVENT = re.compile(rb'"name": "\[memory\]"[^{}]*"args": (\{[^{}]*\})')
_WHOLE = re.compile(rb'"traceName": "[^"]*"\s*\}\s*$')
LONGEST_END = 5000
"""Bytes: a path and some more."""

CPU = 0
"""torch's number of the device type, as a trace has it."""


class TemporaryFolderError(AssetError):
    """The folder for temporary files takes none. It ends a run as an asset does that cannot be had."""


def peak_memory(call: Call, device: str) -> int | None:
    """How much more memory than before a call is allocated at its worst moment: temporaries and results, in bytes.

    The number depends on shapes and not on time, and is the same whenever the same call is measured. It is what torch's
    allocators give out. What libraries take for themselves, such as the scratch pads of oneDNN, is not in it. On a CPU
    what is mapped, as are the gradients of a large bank of experts, counts whole and until the call's end, though pages
    that nobody touches need none.

    Args:
        call: made once. It should have been made before, so that buffers which are made once and kept do not count, and
            nothing of that earlier call should be left that this one would replace (gradients): on a CPU the release
            of older memory is not seen, on a GPU it would hide as much of what is allocated afterwards.
        device: "cpu" or "cuda".

    Returns:
        Bytes; on a GPU in the allocator's blocks, multiples of 512. None where torch was built without the profiler
        that sees allocations.

    Raises:
        TemporaryFolderError: the profile, some hundred kilobytes, cannot be written.
    """
    return _METHODS[device](call)


def _on_cpu(call: Call) -> int | None:
    if not torch.profiler.kineto_available():
        return None
    # Not `torch.profiler.profile`: at its first start it imports torch's compiler, which takes seconds.
    with _quiet_allocator(), _mappings() as mapped, profile(profile_memory=True) as trace:
        call()
    return highest(_allocations(_memory_events(trace))) + sum(mapped)


@contextmanager
def _mappings() -> Iterator[list[int]]:
    """The bytes of each mapping that is made inside, of which torch's allocators know nothing."""
    made: list[int] = []
    mapping = mmap.mmap

    def counted(fileno: int, length: int, *arguments: Any, **options: Any) -> mmap.mmap:
        made.append(length)
        return mapping(fileno, length, *arguments, **options)

    mmap.mmap = counted  # type: ignore[misc, assignment]  # for the time of a call that nobody times
    try:
        yield made
    finally:
        mmap.mmap = mapping  # type: ignore[misc]  # as it was


def _memory_events(trace: Any) -> list[dict[str, Any]]:
    """What the profile says of each allocation and release, through a file."""
    try:
        with TemporaryDirectory() as folder:
            # The exported trace is the only public place with every allocation; the profiler's lists add them up by
            # operator, where a temporary that an operator takes and gives back is nothing.
            path = Path(folder, "trace.json")
            # It raises nothing where the disk is full: the file is cut off then, or missing.
            trace.export_chrome_trace(str(path))
            return _memory_of(path.read_bytes())
    except (OSError, ValueError, KeyError) as error:
        raise TemporaryFolderError(
            f"{gettempdir()}: the temporary folder cannot take a profile of memory, is it full? ({_reason(error)}); "
            "TMPDIR names another"
        ) from None


def _memory_of(trace: bytes) -> list[dict[str, Any]]:
    """The `args` of a trace's memory events, of which there are 18,000 in a training step of a language model.

    They are looked for in the text, which takes a fifth of the time that reading all 80,000 events takes.

    Raises:
        ValueError: the trace is cut off.
    """
    found = _MEMORY_EVENT.findall(trace)
    if _WHOLE.search(trace, len(trace) - LONGEST_END) and len(found) == trace.count(_MEMORY_NAME):
        return [json.loads(args) for args in found]
    # Cut off, or written otherwise than torch 2.6 to 2.13 write it.
    return [event["args"] for event in json.loads(trace)["traceEvents"] if event["name"] == "[memory]"]


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "the file is cut off"


@contextmanager
def _quiet_allocator() -> Iterator[None]:
    """Nothing on standard error, where the allocator would write a line whenever older memory is released.

    That release is left out on purpose (see `highest`), and torch reads the level of this log when it is loaded.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _allocations(events: Iterable[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each allocation, bytes negative for a release, in the order in which they happened."""
    for event in events:
        if event["Device Type"] == CPU:
            yield event["Addr"], event["Bytes"]


def highest(allocations: Iterable[tuple[int, int]]) -> int:
    """The most bytes alive at a time, of those that were allocated here.

    Args:
        allocations: (address, bytes), negative for a release. A release of what was allocated earlier is left out: the
            profiler knows of such a block only if an earlier profile saw it, and then perhaps with a wrong size.
    """
    alive: dict[int, int] = {}
    now = most = 0
    for address, size in allocations:
        if size >= 0:
            alive[address] = size
            now += size
        else:
            now -= alive.pop(address, 0)
        most = max(most, now)
    return most


def _on_cuda(call: Call) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


_METHODS: dict[str, Callable[[Call], int | None]] = {"cpu": _on_cpu, "cuda": _on_cuda}
