"""Peaks worked out by hand. A float32 has 4 bytes. Tensor with tensor: a Python number becomes a tensor as well."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.presets import get_preset
from bench.router.checked import check, count
from bench.router.inputs import Inputs
from bench.router.scenarios import get_router_scenario
from bench.scenario import list_scenarios
from bench.timing import memory
from bench.timing.memory import highest, peak_memory
from harness.assets.errors import AssetError
from routers import FeedForwardExperts, Router, temporary_router

X = torch.ones(1000)
Y = torch.ones(1000)
MATRIX = torch.ones(100, 10)


def one_temporary() -> None:
    X + Y  # 4,000, released at once


def two_at_once() -> Tensor:
    left, right = X + Y, X - Y
    return left * right  # 3 x 4,000: both, and the result


def one_after_the_other() -> None:
    left = X + Y
    del left
    right = X - Y  # in place of the first
    del right


def chained() -> Tensor:
    return (X + Y) * Y  # the sum is alive while the product is made


def a_peak_between_smaller_ones() -> None:
    X + Y  # 4,000
    torch.cat([X, Y, X])  # 12,000
    X + Y


def product() -> Tensor:
    return MATRIX @ MATRIX.T  # 100 x 100 x 4; the transposed one is a view


def inside_an_operator() -> Tensor:
    # 4,000 of normalised values and, for one row, a mean and a reciprocal standard deviation: not returned, but made.
    return torch.layer_norm(X, (1000,))


def nothing() -> None:
    X.add_(Y)
    assert X.view(10, 100).T.shape == (100, 10)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (one_temporary, 4_000),
        (two_at_once, 12_000),
        (one_after_the_other, 4_000),
        (chained, 8_000),
        (a_peak_between_smaller_ones, 12_000),
        (product, 40_000),
        (inside_an_operator, 4_000 + 4 + 4),
        (nothing, 0),
        (lambda: None, 0),
    ],
)
def test_a_peak_is_what_was_worked_out(call: Callable[[], object], expected: int) -> None:
    assert [peak_memory(call, "cpu") for _ in range(3)] == [expected] * 3


def test_a_backward_pass_counts_what_it_keeps_and_the_gradient() -> None:
    weight = torch.ones(1000, requires_grad=True)
    gradient = torch.ones(1000)

    def step() -> None:
        # exp keeps its result: 4,000. Backward makes gradient times result, 4,000, which becomes the weight's gradient.
        weight.exp().backward(gradient)

    assert peak_memory(step, "cpu") == 8_000
    weight.grad = None
    assert peak_memory(step, "cpu") == 8_000


def test_no_gradients_means_nothing_is_kept() -> None:
    weight = torch.ones(1000, requires_grad=True)

    def forward() -> Tensor:
        return weight.exp().exp().exp()

    assert peak_memory(forward, "cpu") == 12_000  # all three, for a backward that never comes
    with torch.no_grad():
        assert peak_memory(forward, "cpu") == 8_000  # the one read and the one written


def test_what_was_there_before_is_not_counted_though_the_call_releases_it() -> None:
    held = [X + Y]

    def replace() -> None:
        held[0] = X * Y

    replace()
    assert peak_memory(replace, "cpu") == 4_000
    assert peak_memory(replace, "cpu") == 4_000  # now a profile has seen the released block


def test_a_release_of_an_unknown_block_is_left_out() -> None:
    assert highest([(1, 10), (9, -100), (2, 10), (1, -10), (3, 5)]) == 20
    assert highest([(1, 10), (1, -10), (1, 30), (1, -30)]) == 30  # an address is used again
    assert highest([(9, -100), (1, 7)]) == 7
    assert highest([]) == 0


def test_measuring_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    peak_memory(one_temporary, "cpu")
    assert capfd.readouterr() == ("", "")


def test_a_release_of_what_was_there_before_is_not_announced(capfd: pytest.CaptureFixture[str]) -> None:
    older = [torch.ones(1000)]
    assert peak_memory(older.clear, "cpu") == 0
    assert capfd.readouterr() == ("", "")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_an_error_of_the_call_is_its_own_and_the_next_is_measured() -> None:
    def fail() -> None:
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        peak_memory(fail, "cpu")
    assert peak_memory(one_temporary, "cpu") == 4_000


def test_without_the_profiler_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.profiler, "kineto_available", lambda: False)
    assert peak_memory(one_temporary, "cpu") is None


def peak_of(scenario: str, name: str) -> int | None:
    inputs = Inputs(get_preset("smoke"), "cpu")  # T = 32, D = 64, E = 8, K = 2
    compared = check(name, inputs, "random")
    counted = count(compared, get_router_scenario(scenario), inputs, "random", lambda: FeedForwardExperts(8, 64, 128))
    assert counted.error is None
    return counted.peak_memory


@pytest.fixture
def plain_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers `plain`, of which one can say what it allocates."""

    class Plain(Router):
        def __init__(self, **sizes: object) -> None:
            super().__init__(**sizes)  # type: ignore[arg-type]
            self.weight = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size))
            self.lazy: Tensor | None = None

        def compute_router_probabilities(self, hidden_states: Tensor) -> Tensor:
            if self.lazy is None:
                self.lazy = torch.zeros(10**6)
            return torch.softmax(hidden_states.to(self.weight.dtype) @ self.weight.T, dim=-1)

    with temporary_router("plain", Plain):
        yield


@pytest.mark.usefixtures("plain_router")
def test_a_buffer_made_once_is_not_counted_and_gradients_are() -> None:
    router, training = peak_of("router", "plain"), peak_of("training", "plain")
    assert router is not None
    assert training is not None
    # Logits and probabilities, (32, 8) each, and what selects the largest; the lazy buffer has 4,000,000 bytes.
    assert 2 * 32 * 8 * 4 <= router < 10 * 32 * 8 * 4
    # At the end of backward: probabilities and gradient of the logits, (32, 8) each, and the gradients of the inputs,
    # (32, 64), and of the weights, (8, 64), though an earlier step left such gradients.
    assert training == (2 * 32 * 8 + 32 * 64 + 8 * 64) * 4


@pytest.mark.parametrize("scenario", list_scenarios("router"))
@pytest.mark.parametrize("name", ["linear", "attention", "hash", "self_supervised"])
def test_a_prepared_router_has_the_same_peak_each_time(scenario: str, name: str) -> None:
    peaks = [peak_of(scenario, name) for _ in range(2)]
    assert peaks[0] == peaks[1]
    assert peaks[0]


@pytest.mark.parametrize("written", ["as torch writes it", "on one line", "with a brace in the arguments"])
def test_a_trace_is_read_however_it_is_written(written: str) -> None:
    arguments = [{"Bytes": 256, "Addr": 1, "Device Type": 0}, {"Bytes": -256, "Addr": 1, "Device Type": 0}]
    if written == "with a brace in the arguments":
        arguments = [each | {"more": {"Ev Idx": 7}} for each in arguments]
    events = [{"ph": "i", "name": "[memory]", "args": each} for each in arguments]
    trace = {"traceEvents": [{"name": "aten::mm", "args": {"name": "memory"}}, *events], "traceName": "/tmp/trace.json"}
    text = json.dumps(trace, indent=2 if written == "as torch writes it" else None)
    assert memory._memory_of(text.encode()) == arguments
    for cut in (1, 30, 32):
        with pytest.raises(ValueError, match=r"line \d+ column"):
            memory._memory_of(text.encode()[:-cut])


@pytest.mark.parametrize("left", [None, b"", b'{"traceEvents": [{"na'])
def test_a_full_temporary_folder_is_one_line_that_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: bytes | None
) -> None:
    def export(_self: object, path: str) -> None:
        # As torch does on a full disk: nothing is raised, and nothing or a part is there.
        if left is not None:
            Path(path).write_bytes(left)

    monkeypatch.setattr("torch.autograd.profiler.profile.export_chrome_trace", export)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # An asset's error: what a run does not go on after, and does not call a fault of the router.
    with pytest.raises(AssetError, match=rf"^{tmp_path}: the temporary folder cannot take .* TMPDIR names another$"):
        peak_of("router", "linear")
    assert not list(tmp_path.iterdir())


def test_without_any_temporary_folder_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(AssetError, match=r"gone: the temporary folder cannot take .*\(No such file or directory\)"):
        peak_memory(one_temporary, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_peak_is_in_whole_blocks(tmp_path: Path) -> None:
    x, y = torch.ones(2, 1024, device="cuda")
    assert [peak_memory(lambda: (x + y) * y, "cuda") for _ in range(2)] == [8192] * 2
    assert peak_memory(lambda: None, "cuda") == 0


def test_what_is_mapped_is_counted_as_well() -> None:
    def call() -> object:
        return X + Y, mmap.mmap(-1, 1 << 22)  # 4,000 and 4 MiB

    assert peak_memory(call, "cpu") == 4000 + (1 << 22)
    assert peak_memory(lambda: X + Y, "cpu") == 4000
