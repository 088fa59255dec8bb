"""A group by hand, with durations that need no clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.record.journal import Journal
from bench.timing.group import Candidate, Comparison, Group, Progress, measure_group
from bench.timing.interleave import Call

Measure = Callable[..., Group[Candidate]]


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


def comparison(*, tokens: int = 4, gradients: bool = False) -> Comparison:
    return Comparison("decode | tiny", "stock", "stock@again", gradients, tokens, warmup=1, repetitions=2, rounds=3)


@pytest.fixture
def measure(tmp_path: Path, no_bar: Progress) -> Measure:
    """Measures candidates; a second time it goes on with the journal of the first."""
    path = tmp_path / "journal"

    def run(subjects: dict[str, Candidate], **options: bool) -> Group[Candidate]:
        with Journal(path, {}, resume=path.exists()) as journal:
            return measure_group(comparison(**options), subjects, clock=Steady(), journal=journal, progress=no_bar)

    return run


def test_what_a_call_leaves_is_put_back_after_every_single_call(measure: Measure) -> None:
    cache = [0]

    def decode() -> None:
        assert len(cache) == 1
        cache.append(0)

    subjects = {name: Candidate(call=decode, reset=cache.pop) for name in ("stock", "stock@again")}
    group = measure(subjects)
    assert cache == [0]
    assert group.durations("stock") == [1000] * 6
    assert list(group.calls_per_round.values()) == [5, 5]


@pytest.mark.parametrize("gradients", [True, False])
def test_autograd_is_on_where_the_comparison_says_so(measure: Measure, gradients: bool) -> None:
    seen = set()
    subjects = {name: Candidate(call=lambda: seen.add(torch.is_grad_enabled())) for name in ("stock", "stock@again")}
    measure(subjects, gradients=gradients)
    assert seen == {gradients}


def test_what_nobody_has_counted_is_null() -> None:
    group = Group(
        comparison(tokens=0),
        {"stock": Candidate(), "linear": Candidate(flops=6000)},
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
        comparison(tokens=4),
        {"stock": Candidate()},
        dict.fromkeys(("stock", "stock@again"), [[8000]] * 2),
        {"stock": 1},
    )
    assert group.timing("stock", 9.0)["ns_per_token"] == 2000


def test_without_its_baseline_a_group_is_not_timed_and_says_why(measure: Measure) -> None:
    wrong = ArithmeticError("wrong on purpose")
    subjects = {"stock": Candidate(error=wrong), "stock@again": Candidate(error=wrong), "linear": Candidate(call=int)}
    group = measure(subjects)
    with pytest.raises(RuntimeError, match="the baseline stock failed: nothing was timed"):
        group.durations("linear")
    with pytest.raises(ArithmeticError, match="wrong on purpose"):
        group.durations("stock")


def test_a_candidate_that_is_wrong_is_left_out_and_the_others_are_timed(measure: Measure) -> None:
    subjects = {name: Candidate(call=int) for name in ("stock", "stock@again")}
    subjects["linear"] = Candidate(error=ArithmeticError("wrong on purpose"))
    group = measure(subjects)
    assert list(group.blocks) == ["stock", "stock@again"]
    with pytest.raises(ArithmeticError, match="wrong on purpose"):
        group.durations("linear")


def test_finished_blocks_are_read_and_not_measured_again(measure: Measure) -> None:
    calls = []
    subjects = {name: Candidate(call=lambda: calls.append(1)) for name in ("stock", "stock@again")}
    first = measure(subjects)
    calls.clear()
    again = measure(subjects)
    assert len(calls) == 2  # to warm up
    assert (again.blocks, again.calls_per_round) == (first.blocks, first.calls_per_round)
