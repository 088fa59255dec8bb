"""Ways of calling: compiled here with a backend that takes no time, captured by what stands for a card."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.timing import ways
from bench.timing.group import PreparedCall
from bench.timing.interleave import Call
from bench.timing.ways import WARM_UP_CALLS, WayError, compiled, floating_tensors, prepared
from routers import create_router, list_routers


@pytest.fixture(autouse=True)
def quick_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own tracing, without the compiler behind it, which takes half a minute."""
    monkeypatch.setattr(ways, "BACKEND", "eager")


def outcome(call: Call) -> list[Tensor]:
    return floating_tensors(call())


def in_turn(factor: float = 1.0) -> Callable[[], Call]:
    """Calls that go through their inputs in turn, as the scenario of one token does."""

    def prepare() -> Call:
        numbers = cycle([torch.full((2,), float(number)) for number in range(1, 9)])
        return lambda: next(numbers) * factor

    return prepare


def test_an_eager_call_is_the_scenarios_own() -> None:
    def call() -> None:
        raise AssertionError("made before it is timed")

    assert prepared(lambda: call, (), None) == PreparedCall(call)


def test_compiled_calls_of_many_routers_are_all_compiled() -> None:
    import torch._dynamo.utils as dynamo

    tokens = torch.randn(5, 16)

    def prepare(router: torch.nn.Module) -> Call:
        return lambda: router(tokens)

    before = dynamo.counters["stats"]["unique_graphs"]
    with torch.no_grad():
        for _ in range(10):
            router = create_router("linear", hidden_size=16, num_experts=4, top_k=2)
            call = prepared(lambda router=router: prepare(router), ("compile",), outcome)
            assert call.setup is not None
            assert (call.setup.graph_breaks, call.setup.seconds > 0) == (0, True)
            torch.testing.assert_close(call.call().router_probs, router(tokens).router_probs)
    assert dynamo.counters["stats"]["unique_graphs"] - before == 10


def test_a_training_step_is_compiled_up_to_its_backward_pass() -> None:
    weight, tokens = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)

    def step() -> None:
        weight.grad = None
        (tokens @ weight.T).square().sum().backward()

    def gradient(call: Call) -> list[Tensor]:
        call()
        assert weight.grad is not None
        return [weight.grad.clone()]

    call = prepared(lambda: step, ("compile",), gradient)
    assert call.setup is not None
    assert call.setup.graph_breaks > 0


def test_a_call_that_leads_to_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ways.Way("wrong", ("cpu",), lambda call: lambda: 1.02 * call(), calls=0)  # type: ignore[operator]  # a tensor
    monkeypatch.setitem(ways.WAYS, "compile", wrong)
    with pytest.raises(WayError, match=r"something else than eagerly: relative error 0.02, at most 0.0035"):
        prepared(in_turn(), ("compile",), outcome)
    assert prepared(in_turn(), ("compile",), None).setup is not None


@pytest.mark.parametrize(("found", "same"), [(-math.inf, True), (math.inf, False), (0.0, False), (math.nan, False)])
def test_experts_that_are_out_of_the_question_stay_so(
    found: float, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked, other = torch.tensor([1.0, -math.inf]), torch.tensor([1.0, found])
    monkeypatch.setitem(ways.WAYS, "compile", ways.Way("masked", ("cpu",), lambda call: lambda: other, calls=0))
    with nullcontext() if same else pytest.raises(WayError, match="something else than eagerly: relative error"):
        prepared(lambda: lambda: masked, ("compile",), outcome)


@pytest.mark.parametrize("name", list_routers())
def test_every_router_is_found_equal_to_itself(name: str) -> None:
    router, tokens = create_router(name, hidden_size=16, num_experts=4, top_k=2), torch.randn(6, 16)
    with torch.no_grad():
        ways._expect_same(floating_tensors(router(tokens)), floating_tensors(router(tokens)))


def test_what_cannot_be_compiled_fails_in_one_line() -> None:
    with pytest.raises(WayError, match=r"^torch\.compile finds nothing to compile in it$"):
        compiled(lambda: 3)

    def broken() -> Tensor:
        return torch.ones(2, 3) @ torch.ones(2, 3)

    with pytest.raises(WayError, match=r"^cannot be compiled: ") as failed:
        compiled(broken)
    assert "\n" not in str(failed.value)


class Card:
    """Stands for a device: calls made inside `graph` are kept, and made again at each replay."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capturing, self.replays = False, 0
        stream = SimpleNamespace(wait_stream=lambda other: None)
        card = self

        class Graph:
            def replay(self) -> None:
                card.replays += 1

        @contextmanager
        def graph(_: Any, stream: object) -> Iterator[None]:
            card.capturing = True
            try:
                yield
            except RuntimeError:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from None
            finally:
                card.capturing = False

        for name, value in {
            "CUDAGraph": Graph,
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": nullcontext,
            "graph": graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


def test_a_captured_call_is_replayed_and_compared_with_the_eager_one_of_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = Card(monkeypatch)
    call = prepared(in_turn(), ("graph",), outcome)
    for _ in range(3):
        assert torch.equal(call.call(), torch.full((2,), WARM_UP_CALLS + 1.0))  # type: ignore[arg-type]  # a tensor
    assert card.replays == 4


def test_what_a_captured_call_reads_lives_as_long_as_its_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    router = create_router("linear", hidden_size=4, num_experts=2, top_k=1)
    weights, tokens = weakref.ref(router), torch.randn(3, 4)
    call = prepared(lambda router=router: lambda: router(tokens), ("graph",), outcome)
    del router
    gc.collect()
    assert weights() is not None, "a graph reads the router's memory, and does not own it"
    del call
    gc.collect()
    assert weights() is None


def test_what_was_compiled_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch)
    call = prepared(in_turn(2.0), ("graph", "compile"), outcome)
    assert torch.equal(call.call(), torch.full((2,), 2 * (1 + WARM_UP_CALLS + 1.0)))  # type: ignore[arg-type]  # a tensor


def test_a_call_that_waits_for_the_device_cannot_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)

    def call() -> Tensor:
        if card.capturing:
            raise RuntimeError(
                "CUDA error: operation not permitted when stream is capturing\nCompile with `TORCH_USE..."
            )
        return torch.ones(1)

    expected = "^cannot be captured in a CUDA graph: CUDA error: operation not permitted when stream is capturing$"
    with pytest.raises(WayError, match=expected):
        prepared(lambda: call, ("graph",), outcome)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_graph_on_a_card_replays_a_router() -> None:
    router = create_router("mlp", hidden_size=64, num_experts=8, top_k=2).to("cuda")
    tokens = torch.randn(256, 64, device="cuda")
    with torch.no_grad():
        call = prepared(lambda: lambda: router(tokens), ("graph",), outcome)
        tokens.copy_(torch.randn(256, 64))
        expected = router(tokens).router_probs
        torch.testing.assert_close(call.call().router_probs, expected)  # type: ignore[attr-defined]  # a routing


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_card_goes_on_after_a_call_that_it_could_not_capture() -> None:
    tokens = torch.randn(256, 64, device="cuda")
    with pytest.raises(WayError, match="cannot be captured in a CUDA graph"):
        prepared(lambda: lambda: tokens.sum().item(), ("graph",), outcome)
    call = prepared(lambda: lambda: tokens * 2, ("graph",), outcome)
    torch.testing.assert_close(call.call(), tokens * 2)
