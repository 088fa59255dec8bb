"""Ways to make a scenario's call other than eagerly: compiled, or captured in a CUDA graph and replayed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import FunctionType

import torch
from torch import Tensor

from bench.timing.group import PreparedCall, Setup
from bench.timing.interleave import Call

WARM_UP_CALLS = 3
"""Before a call is captured: kernels are loaded, and workspaces allocated, outside of the graph."""
MOST_VERSIONS = 64
"""torch gives up a function after eight compiled versions; all routers of a group go through the layer's functions."""
BACKEND = "inductor"
COMPILE = "compile"


class WayError(Exception):
    """A call that cannot be made in a way, or leads to something else in it; one line says why."""


@dataclass(frozen=True)
class Way:
    """How a call is made.

    Attributes:
        description: in words, for the JSON.
        devices: where calls can be made so.
        wrap: (call) -> the call made so; it has been made `calls` times by then.
        calls: how often `wrap` makes the call.
    """

    description: str
    devices: tuple[str, ...]
    wrap: Callable[[Call], Call]
    calls: int


Outcome = Callable[[Call], list[Tensor]]
"""Makes a call, and returns copies of what it has led to."""


def prepared(prepare: Callable[[], Call], ways: Sequence[str], outcome: Outcome | None) -> PreparedCall:
    """A scenario's call made in some ways, and compared with the eager one.

    Args:
        prepare: makes the eager call anew, from the same beginning: a call may go through its tokens in turn.
        ways: names of `WAYS`; none leaves the call as it is.
        outcome: None where equal calls differ by chance.

    Raises:
        WayError: it cannot be made so, or leads to something else.
    """
    if not ways:
        return PreparedCall(prepare())
    applied = [way for name, way in WAYS.items() if name in ways]
    expected = _eager_outcome(prepare(), sum(way.calls for way in applied), outcome) if outcome else []
    started, breaks = time.perf_counter(), graph_breaks()
    call = prepare()
    for way in applied:
        call = way.wrap(call)
    setup = Setup(time.perf_counter() - started, graph_breaks() - breaks)
    if outcome:
        _expect_same(outcome(call), expected)
    return PreparedCall(call, setup=setup)


def _eager_outcome(call: Call, calls_before: int, outcome: Outcome) -> list[Tensor]:
    for _ in range(calls_before):
        call()
    return outcome(call)


def _expect_same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        tolerance = 10 * float(torch.finfo(other.dtype).eps) ** 0.5  # a token between two experts may change sides
        error = _relative_error(one.double(), other.double())
        if not error <= tolerance:
            raise WayError(f"gives something else than eagerly: relative error {error:.2g}, at most {tolerance:.2g}")


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """Of the L2 distance; infinities, which scores have where an expert is out of the question, are to be equal."""
    difference = torch.where(found == expected, 0.0, found - expected)
    return float(difference.norm()) / max(float(expected[expected.isfinite()].norm()), 1e-12)


def floating_tensors(value: object) -> list[Tensor]:
    """Copies of the floating-point tensors of a call's result: itself one, or a dataclass of some, as a `Routing`."""
    if isinstance(value, Tensor):
        return [value.detach().clone()] if value.is_floating_point() else []
    if is_dataclass(value):
        return [tensor for field in fields(value) for tensor in floating_tensors(getattr(value, field.name))]
    return []


def compiled(call: Call) -> Call:
    """`torch.compile` of the call, with fixed shapes; what it leaves out, as `backward`, is called as ever.

    Raises:
        WayError: torch cannot, or finds nothing to compile.
    """
    import torch._dynamo.config as settings  # here: it takes seconds, and most runs compile nothing

    for name in ("recompile_limit", "cache_size_limit"):  # torch 2.6 has the second alone
        if hasattr(settings, name):
            setattr(settings, name, max(MOST_VERSIONS, getattr(settings, name)))
    made: Call = torch.compile(_with_code_of_its_own(call), dynamic=False, backend=BACKEND)
    graphs = _graphs()
    try:
        made()
    except Exception as error:
        raise WayError(f"cannot be compiled: {_first_line(error)}") from error
    if _graphs() == graphs:
        raise WayError("torch.compile finds nothing to compile in it")
    return made


def captured(call: Call) -> Call:
    """The kernels of one call as a CUDA graph: what is replayed has no Python in it, and always the same inputs.

    Raises:
        WayError: the call cannot be captured, as where it waits for the device.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    try:
        with torch.cuda.graph(graph, stream=stream):
            result = call()
    except Exception as error:
        raise WayError(f"cannot be captured in a CUDA graph: {_first_line(error)}") from error

    return Replay(graph, result, call)


@dataclass(frozen=True)
class Replay:
    """A captured call.

    Attributes:
        graph: its kernels, which read and write addresses of the card's memory, and own none of what they read.
        result: what the call has returned, and each replay writes anew.
        captured: the call, whose router and tokens stay where the kernels find them as long as it is kept.
    """

    graph: torch.cuda.CUDAGraph
    result: object
    captured: Call

    def __call__(self) -> object:
        """Replay the graph."""
        self.graph.replay()
        return self.result


WAYS: dict[str, Way] = {
    COMPILE: Way("compiled by torch.compile with fixed shapes", ("cpu", "cuda"), compiled, calls=1),
    "graph": Way("captured in a CUDA graph and replayed", ("cuda",), captured, calls=WARM_UP_CALLS),
}
"""By name, in the order in which they are applied: what is compiled can be captured, but not the other way round."""


def graph_breaks() -> int:
    """At how many places torch.compile has left what it compiles, so far in this process."""
    return sum(_counters().get("graph_break", {}).values())


def _graphs() -> int:
    return int(_counters().get("stats", {}).get("unique_graphs", 0))


def _counters() -> Mapping[str, Mapping[str, int]]:
    return getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})


def _with_code_of_its_own(call: Call) -> Call:
    """The same function with code of its own: torch keeps versions by code, which the calls of all routers share."""
    if not isinstance(call, FunctionType):
        return call
    code = call.__code__.replace(co_name=f"call_{id(call)}")
    own = FunctionType(code, call.__globals__, call.__name__, call.__defaults__, call.__closure__)
    own.__kwdefaults__ = call.__kwdefaults__
    return own


def _first_line(error: BaseException) -> str:
    """Of what went wrong first: to leave a capture that has failed fails once more, with a vaguer message."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
