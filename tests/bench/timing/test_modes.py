"""Clock modes: what can be asked for where, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bench.timing.clocks import CpuClock, CudaClock
from bench.timing.interleave import measure_block
from bench.timing.modes import DEVICES, ClockMode, L2Flush, available_devices


def test_the_cpu_can_always_be_measured() -> None:
    assert "cpu" in available_devices()
    assert set(available_devices()) <= set(DEVICES)


@pytest.mark.parametrize(
    ("text", "device", "name"),
    [
        (None, "cpu", "host"),
        (None, "cuda", "events"),
        ("host", "cuda", "host"),
        ("compile", "cpu", "compile+host"),
        ("graph", "cuda", "graph+events"),
        ("host+graph", "cuda", "graph+host"),
        ("events+graph+compile", "cuda", "compile+graph+events"),
    ],
)
def test_a_mode_is_a_timing_and_ways_of_calling(text: str | None, device: str, name: str) -> None:
    mode = ClockMode.parse(text, device=device)
    assert mode.name == name
    assert ClockMode.parse(mode.name, device=device) == mode
    assert ClockMode.parse(text, "warm", device=device) == mode


@pytest.mark.parametrize(
    ("text", "l2", "device", "complaint"),
    [
        ("events+host", "warm", "cuda", "expected one way of timing"),
        ("graph+graph", "warm", "cuda", "each once"),
        ("wall", "warm", "cuda", "unknown word 'wall'; there are: events, host, compile, graph"),
        ("events", "warm", "cpu", "'events' needs a CUDA device; on cpu there are: host, compile"),
        ("compile+graph", "warm", "cpu", "'graph' needs a CUDA device"),
        (None, "cold", "cpu", "--l2 is 'cold', expected one of: warm, flushed"),
        (None, "flushed", "cpu", "--l2 is 'flushed', which needs a CUDA device"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(text: str | None, l2: str, device: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"^--(clock|l2) is ") as refused:
        ClockMode.parse(text, l2, device=device)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_json_says_all_of_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClockMode.parse("compile", device="cpu").as_dict() == {
        "mode": "compile+host",
        "timed": "on the host, from the call until the device has nothing left to do",
        "called": "compiled by torch.compile with fixed shapes",
        "l2": "warm",
        "l2_bytes": None,
    }
    monkeypatch.setattr("bench.timing.modes.l2_bytes", lambda: 52428800)
    said = ClockMode.parse("graph", "flushed", device="cuda").as_dict()
    assert (said["mode"], said["l2"], said["l2_bytes"]) == ("graph+events", "flushed", 52428800)


def test_the_size_of_the_cache_is_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=1000))
    monkeypatch.setattr("bench.timing.modes.L2Flush", lambda size, device: (size, device))
    assert ClockMode.parse(None, "flushed", device="cuda").flush() == (2000, "cuda")
    assert ClockMode.parse(None, device="cuda").flush() is None


def test_the_cache_is_written_over_before_each_call_and_outside_of_its_time() -> None:
    flush, order = L2Flush(64, "cpu"), []

    class Clock(CpuClock):
        def time(self, call) -> None:
            order.append("timed")
            super().time(call)

    def before() -> None:
        flush()
        order.append("flushed")

    measure_block({"a": lambda: None, "b": lambda: None}, Clock(), rounds=2, seed="", before=before)
    assert order == ["flushed", "timed"] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_read_of_a_flushed_cache_takes_longer() -> None:
    mode = ClockMode.parse("events", "flushed", device="cuda")
    flush, tensor = mode.flush(), torch.randn(6 << 20, device="cuda")  # 24 MiB, which an L2 of 40 or more holds
    assert flush is not None
    clock = CudaClock()
    for before in (lambda: None, flush):
        for _ in range(50):
            before()
            # The host gets ahead meanwhile: otherwise the time is that of the launch, which a flush hides.
            torch.cuda._sleep(500_000)
            clock.time(lambda: tensor.sum())
    durations = clock.durations()
    assert sorted(durations[50:])[25] > sorted(durations[:50])[25]
