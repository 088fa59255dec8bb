"""A group by hand, with durations that need no clock."""

from __future__ import annotations

import pytest

from bench.timing.group import Block, Checked, Group, GroupSpec, NotTimedError, floor_of


def spec(*routers: str, tokens: int = 4) -> GroupSpec:
    sizes = {"gradients": False, "tokens": tokens, "warmup": 1, "repetitions": 2, "rounds": 1}
    names = ("stock", "stock@again", *routers)
    return GroupSpec("decode | tiny", "decode", "", names, "stock", "stock@again", **sizes)  # type: ignore[arg-type]


def block(**durations: int) -> Block:
    """Of one round; the twin's name is no identifier."""
    by_name = {name.replace("again", "stock@again"): [duration] for name, duration in durations.items()}
    return Block(by_name, dict.fromkeys(by_name, 1))


def group(*blocks: Block, tokens: int = 4, **checked: Checked) -> Group[Checked]:
    known = {"stock": Checked(), "stock@again": Checked()} | checked
    return Group(spec(*checked, tokens=tokens), known, list(blocks))


def test_what_nobody_has_counted_is_null() -> None:
    measured = group(
        block(stock=1000, again=1000, linear=3000),
        block(stock=1000, again=2000, linear=3000),
        tokens=0,
        linear=Checked(flops=6000),
    )
    stock, linear = measured.timing("stock", 9.0), measured.timing("linear", 9.0)
    assert (stock["gflops"], stock["ns_per_token"], stock["peak_gflops"]) == (None, None, 9.0)
    assert linear["gflops"] == pytest.approx(2.0)  # 6000 in 3 microseconds
    assert linear["tokens_per_call"] == 0
    assert linear["baseline"] == "stock"
    assert linear["ratio"]["estimate"] == pytest.approx(3)
    assert linear["noise_floor"]["estimate"] == pytest.approx(2**0.5)


def test_time_is_divided_by_the_tokens_of_a_call() -> None:
    measured = group(*[block(stock=8000, again=8000)] * 2)
    timing = measured.timing("stock", 9.0)
    assert (timing["tokens_per_call"], timing["ns_per_token"]) == (4, pytest.approx(2000))


def test_the_ratio_leads_and_the_times_follow_from_it() -> None:
    # In the first process the baseline's own median is disturbed; the rounds' ratios are not.
    blocks = [
        Block({"stock": [10, 20, 90], "stock@again": [10, 20, 90], "mlp": [20, 40, 180]}, {}),
        Block({"stock": [10, 10, 10], "stock@again": [10, 10, 10], "mlp": [20, 20, 90]}, {}),
    ]
    blocks = [Block(each.durations, dict.fromkeys(each.durations, 1)) for each in blocks]
    measured = group(*blocks, mlp=Checked())
    stock, mlp = (measured.timing(name, 1.0) for name in ("stock", "mlp"))
    assert mlp["us_per_call"] / stock["us_per_call"] == pytest.approx(mlp["ratio"]["estimate"])
    assert [a / b for a, b in zip(mlp["process_us"], stock["process_us"], strict=True)] == pytest.approx([2, 2])


def test_a_floors_times_are_the_routers_over_their_ratio_process_by_process() -> None:
    durations = [{"stock": [10], "stock@again": [10], floor_of("stock"): [floor]} for floor in (5, 2)]
    measured = group(*[Block(each, dict.fromkeys(each, 1)) for each in durations])
    floor = measured.timing("stock", 1.0)["floor"]
    assert floor["process_us"] == pytest.approx([0.005, 0.002])
    assert floor["us_per_call"] == pytest.approx(1e-5**0.5)
    assert floor["ratio"]["estimate"] == pytest.approx(10**0.5)


def test_a_router_that_fails_in_one_process_is_not_timed() -> None:
    good = block(stock=1, again=1, linear=2)
    bad = Block({"stock": [1], "stock@again": [1]}, {"stock": 1, "stock@again": 1}, {"linear": "ValueError: no good"})
    measured = group(good, bad, linear=Checked())
    with pytest.raises(NotTimedError, match="ValueError: no good"):
        measured.durations("linear")
    assert measured.timed == ["stock", "stock@again"]
    assert measured.durations("stock") == [1, 1]
    assert measured.resolution == 0


def test_a_router_that_an_earlier_part_of_the_run_lacks_is_said_to_have_failed_there() -> None:
    measured = group(block(stock=1, again=1), block(stock=1, again=1, linear=2), linear=Checked())
    with pytest.raises(NotTimedError, match="linear failed in a part of this run"):
        measured.durations("linear")
