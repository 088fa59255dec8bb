"""A group by hand, with durations that need no clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.record.journal import Journal
from bench.timing.group import Group, GroupSpec, Progress, TimedCall, measure_group
from bench.timing.interleave import Call

Measure = Callable[..., Group[TimedCall]]


class Steady:
    """A clock for which every call takes a microsecond."""

    def __init__(self) -> None:
        self.calls = 0

    def time(self, call: Call) -> None:
        call()
        self.calls += 1

    def durations(self) -> list[int]:
        calls, self.calls = self.calls, 0
        return [1000] * calls


def spec(*, tokens: int = 4, gradients: bool = False) -> GroupSpec:
    return GroupSpec("decode | tiny", "stock", "stock@again", gradients, tokens, warmup=1, repetitions=2, rounds=3)


@pytest.fixture
def measure(tmp_path: Path, no_bar: Progress) -> Measure:
    """Measures candidates; a second time it goes on with the journal of the first."""
    path = tmp_path / "journal"

    def run(timed: dict[str, TimedCall], **options: bool) -> Group[TimedCall]:
        with Journal(path, {}, resume=path.exists()) as journal:
            return measure_group(spec(**options), timed, clock=Steady(), journal=journal, progress=no_bar)

    return run


def test_what_a_call_leaves_is_put_back_after_every_single_call(measure: Measure) -> None:
    cache = [0]

    def decode() -> None:
        assert len(cache) == 1
        cache.append(0)

    timed = {name: TimedCall(call=decode, reset=cache.pop) for name in ("stock", "stock@again")}
    group = measure(timed)
    assert cache == [0]
    assert group.durations("stock") == [1000] * 6
    assert list(group.calls_per_round.values()) == [5, 5]


@pytest.mark.parametrize("gradients", [True, False])
def test_autograd_is_on_where_the_comparison_says_so(measure: Measure, gradients: bool) -> None:
    seen = set()
    timed = {name: TimedCall(call=lambda: seen.add(torch.is_grad_enabled())) for name in ("stock", "stock@again")}
    measure(timed, gradients=gradients)
    assert seen == {gradients}


def test_what_nobody_has_counted_is_null() -> None:
    group = Group(
        spec(tokens=0),
        {"stock": TimedCall(), "linear": TimedCall(flops=6000)},
        {"stock": [[1000], [1000]], "stock@again": [[1000], [2000]], "linear": [[3000], [3000]]},
        {"stock": 1, "linear": 1},
    )
    stock, linear = group.timing("stock", 9.0), group.timing("linear", 9.0)
    assert (stock["gflops"], stock["ns_per_token"], stock["peak_gflops"]) == (None, None, 9.0)
    assert linear["gflops"] == 2.0  # 6000 in 3 microseconds
    assert linear["baseline"] == "stock"
    assert linear["ratio"]["estimate"] == pytest.approx(3)
    assert linear["noise_floor"]["estimate"] == pytest.approx(2**0.5)


def test_time_is_divided_by_the_tokens_of_a_call() -> None:
    group = Group(
        spec(tokens=4),
        {"stock": TimedCall()},
        dict.fromkeys(("stock", "stock@again"), [[8000]] * 2),
        {"stock": 1},
    )
    assert group.timing("stock", 9.0)["ns_per_token"] == 2000


def test_without_its_baseline_a_group_is_not_timed_and_says_why(measure: Measure) -> None:
    wrong = ArithmeticError("wrong on purpose")
    timed = {"stock": TimedCall(error=wrong), "stock@again": TimedCall(error=wrong), "linear": TimedCall(call=int)}
    group = measure(timed)
    with pytest.raises(RuntimeError, match="the baseline stock failed: nothing was timed"):
        group.durations("linear")
    with pytest.raises(ArithmeticError, match="wrong on purpose"):
        group.durations("stock")


def test_a_candidate_that_is_wrong_is_left_out_and_the_others_are_timed(measure: Measure) -> None:
    timed = {name: TimedCall(call=int) for name in ("stock", "stock@again")}
    timed["linear"] = TimedCall(error=ArithmeticError("wrong on purpose"))
    group = measure(timed)
    assert list(group.blocks) == ["stock", "stock@again"]
    with pytest.raises(ArithmeticError, match="wrong on purpose"):
        group.durations("linear")


def test_finished_blocks_are_read_and_not_measured_again(measure: Measure) -> None:
    calls = []
    timed = {name: TimedCall(call=lambda: calls.append(1)) for name in ("stock", "stock@again")}
    first = measure(timed)
    calls.clear()
    again = measure(timed)
    assert len(calls) == 2  # to warm up
    assert (again.blocks, again.calls_per_round) == (first.blocks, first.calls_per_round)
