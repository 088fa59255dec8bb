"""All groups of a run, measured: a process a repetition, each finished block in the journal before the next begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any, TypeVar

from bench.record.journal import Results
from bench.repetition.process import Measures, ProcessDiedError
from bench.timing.group import Block, GroupSpec
from harness.progress import Bar, Progress

Start = Callable[[], AbstractContextManager[Measures]]
"""Starts the process of a repetition, or what stands for one."""
ATTEMPTS = 2
Answer = TypeVar("Answer")


class Repetitions:
    """The processes of a run, one after the other.

    Attributes:
        blocks: key of a group -> its blocks, in the order of the repetitions.
        peaks: 10⁹ FLOP/s of large matrix products, as each process found them at its beginning and at its end.

    Args:
        groups: what is measured.
        journal: keeps finished blocks; those that it has are not measured again.
        progress: makes a progress bar.
        start: see `Start`.
    """

    def __init__(self, groups: Sequence[GroupSpec], journal: Results, progress: Progress, start: Start) -> None:
        self.blocks: dict[str, list[Block]] = {spec.key: [] for spec in groups}
        self.peaks: list[float] = []
        self._groups = groups
        self._journal = journal
        self._progress = progress
        self._start = start

    def measure(self) -> None:
        """Every block of every group.

        Raises:
            ProcessDiedError: processes that were asked for nothing that a router has a part in.
        """
        for index in range(max((spec.repetitions for spec in self._groups), default=0)):
            self._repeat(index, [spec for spec in self._groups if index < spec.repetitions])

    def _repeat(self, index: int, groups: Sequence[GroupSpec]) -> None:
        peaks_key = f"peak | repetition {index}"
        kept = {spec.key: found for spec in groups if (found := self._journal.get(_key(spec, index)))}
        peaks = self._journal.get(peaks_key)
        if peaks is None or len(kept) < len(groups):
            with _Restarted(self._start) as process:
                peaks = [process.peak(peaks_key)]
                for spec in groups:
                    if spec.key not in kept:
                        kept[spec.key] = self._block(process, spec, index)
                peaks.append(process.peak(peaks_key))
            self._journal.append(peaks_key, peaks)
        self.peaks += peaks
        for key, block in kept.items():
            self.blocks[key].append(Block(**block))

    def _block(self, process: _Restarted, spec: GroupSpec, index: int) -> dict[str, Any]:
        """A block that the journal does not have yet."""
        title = f"{index + 1}/{spec.repetitions} {spec.key}"
        with self._progress(title, spec.warmup + spec.rounds) as bar:
            block = process.measure(spec, self._calls_per_round(spec), index, bar, title)
        found = asdict(block)
        if not block.failed:  # what failed has another chance when the run is resumed
            self._journal.append(_key(spec, index), found)
        return found

    def _calls_per_round(self, spec: GroupSpec) -> Mapping[str, int] | None:
        return next((block.calls_per_round for block in self.blocks[spec.key] if block.calls_per_round), None)


class _Restarted:
    """A repetition's process, and another one where it dies."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._stack = ExitStack()
        self._process: Measures | None = None

    def measure(
        self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, bar: Bar, title: str
    ) -> Block:
        """A block; one whose process dies is measured once more, by another."""
        try:
            return self._asked(title, lambda process: process.measure(spec, calls_per_round, index, bar.update))
        except ProcessDiedError as error:
            return Block({}, {}, dict.fromkeys(spec.routers, str(error)))

    def peak(self, title: str) -> float:
        """The machine's, now; raises `ProcessDiedError`."""
        return self._asked(title, lambda process: process.peak())

    def _asked(self, title: str, ask: Callable[[Measures], Answer]) -> Answer:
        said = ""
        for _ in range(ATTEMPTS):
            try:
                return ask(self._running())
            except ProcessDiedError as error:
                said = f"{title}: its process died ({error})"
                print(f"\n{said}", file=sys.stderr)
                self._stop()
        raise ProcessDiedError(f"{said}, {ATTEMPTS} times")

    def _running(self) -> Measures:
        if self._process is None:
            self._process = self._stack.enter_context(self._start())
        return self._process

    def _stop(self) -> None:
        self._process = None
        self._stack.close()

    def __enter__(self) -> _Restarted:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


def _key(spec: GroupSpec, index: int) -> str:
    return f"{spec.key} | block {index}"
