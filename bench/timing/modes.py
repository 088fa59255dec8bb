"""Clock modes: how a call is timed, how it is made, and whether it finds its data in the L2 cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bench.timing.clocks import Clock, CpuClock, CudaClock, HostClock
from bench.timing.interleave import Call
from bench.timing.ways import WAYS

WARM, FLUSHED = "warm", "flushed"
L2_STATES = (WARM, FLUSHED)


@dataclass(frozen=True)
class Timing:
    """How a call is timed.

    Attributes:
        description: in words, for the JSON.
        clocks: device -> the clock that times so there.
    """

    description: str
    clocks: Mapping[str, Callable[[], Clock]]


TIMINGS: dict[str, Timing] = {
    "events": Timing("between two events on the device", {"cuda": CudaClock}),
    "host": Timing(
        "on the host, from the call until the device has nothing left to do", {"cpu": CpuClock, "cuda": HostClock}
    ),
}
"""By name; the first that a device has is its default."""

DEVICES = ("cpu", "cuda")
MODES = (*TIMINGS, *WAYS)


def available_devices() -> list[str]:
    """The devices that can be measured on this machine."""
    return [device for device in DEVICES if device != "cuda" or torch.cuda.is_available()]


@dataclass(frozen=True)
class ClockMode:
    """What a duration is; durations of two modes are never compared.

    Attributes:
        device: "cpu" or "cuda".
        timing: one of `TIMINGS`.
        ways: of `WAYS`, in their order; none is an eager call.
        l2: "warm", or "flushed": other data is written over the cache before each call, outside of the time.
    """

    device: str
    timing: str
    ways: tuple[str, ...] = ()
    l2: str = WARM

    @classmethod
    def parse(cls, text: str | None, l2: str = WARM, *, device: str) -> ClockMode:
        """The mode of words such as "graph" or "compile+host"; without a word for the timing, the device's own.

        Raises:
            ValueError: an unknown word, two ways of timing, or what the device cannot do.
        """
        words = (text or _default_timing(device)).split("+")
        if unknown := [word for word in words if word not in MODES]:
            raise ValueError(f"--clock is {text!r}: unknown word {unknown[0]!r}; there are: {', '.join(MODES)}")
        timings = [word for word in words if word in TIMINGS] or [_default_timing(device)]
        if len(timings) > 1 or len(set(words)) < len(words):
            raise ValueError(
                f"--clock is {text!r}, expected one way of timing ({' or '.join(TIMINGS)}) and ways of calling "
                f"({', '.join(WAYS)}), each once and joined by +"
            )
        able = {**{name: tuple(timing.clocks) for name, timing in TIMINGS.items()}, **_devices_of_ways()}
        if refused := [word for word in (*timings, *words) if device not in able[word]]:
            possible = ", ".join(word for word in MODES if device in able[word])
            raise ValueError(
                f"--clock is {text!r}: {refused[0]!r} needs a CUDA device; on {device} there are: {possible}"
            )
        if l2 not in L2_STATES:
            raise ValueError(f"--l2 is {l2!r}, expected one of: {', '.join(L2_STATES)}")
        if l2 == FLUSHED and device != "cuda":
            raise ValueError(f"--l2 is {FLUSHED!r}, which needs a CUDA device; on {device} there is: {WARM}")
        return cls(device, timings[0], tuple(way for way in WAYS if way in words), l2)

    @property
    def name(self) -> str:
        """As the JSON and tables show it, and as `parse` reads it."""
        return "+".join((*self.ways, self.timing))

    def clock(self) -> Clock:
        """A clock of this mode."""
        return TIMINGS[self.timing].clocks[self.device]()

    def flush(self) -> Call | None:
        """What is done before each call, outside of its time; None where the cache is left warm."""
        return L2Flush(2 * l2_bytes(), self.device) if self.l2 == FLUSHED else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON's `study.clock`."""
        return {
            "mode": self.name,
            "timed": TIMINGS[self.timing].description,
            "called": ", then ".join(WAYS[way].description for way in self.ways) or "eagerly",
            "l2": self.l2,
            "l2_bytes": l2_bytes() if self.device == "cuda" else None,
        }


class L2Flush:
    """Writes so many bytes, after which the cache holds nothing of what the last call has left there."""

    def __init__(self, size: int, device: str) -> None:
        self._buffer = torch.empty(size, dtype=torch.uint8, device=device)

    def __call__(self) -> None:
        """Write them, in the stream of the calls."""
        self._buffer.zero_()


def l2_bytes() -> int:
    """The size of the current GPU's L2 cache."""
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size)


def _default_timing(device: str) -> str:
    return next(name for name, timing in TIMINGS.items() if device in timing.clocks)


def _devices_of_ways() -> dict[str, tuple[str, ...]]:
    return {name: way.devices for name, way in WAYS.items()}
