from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.settings import Rules
from bench.gate.verdicts.evidence import Evidence, PairedSample, typical_noise, verdict, weigh
from bench.timing.intervals import Interval

RULES = Rules()
LOG = st.floats(-0.5, 0.5)


def pair(ratio: float, noise: float) -> PairedSample:
    return PairedSample(ratio, noise, base_us=1000.0, head_us=1000.0, cycle_s=0.01)


PAIRS = st.lists(st.builds(pair, LOG, LOG), min_size=1, max_size=6)


def weighed(pairs: Mapping[str, list[PairedSample]]) -> dict[str, Evidence]:
    """By the noise of these pairs themselves."""
    return weigh(pairs, typical_noise(pairs))


def evidence(estimate: float, reach: float = 0.01, *, floor: float = 0.001, pairs: int = 3) -> Evidence:
    """Of logs."""
    interval = Interval(estimate, estimate - reach, estimate + reach)
    return Evidence(interval, Interval(0.0, -reach, reach), floor, pairs)


def test_two_pairs_of_one_benchmark_by_hand() -> None:
    found = weighed({"a": [pair(0.10, 0.02), pair(0.06, -0.04)]})["a"]
    # Mean ratio 0.08. Squares about it: 2 * 0.02² = 0.0008. Noise: 0.02² + 0.04² = 0.0020, whose mean, 0.0010, is the
    # run's typical one, too. Head scatters with 3/4 of that variance. Degrees of freedom: 1 + 2 + 4 (the prior) = 7.
    # Variance (0.0008 + 0.75 * 0.0020 + 4 * 0.75 * 0.0010) / 7 = 0.0053 / 7, of the mean of two: / 2.
    error = math.sqrt(0.0053 / 14)
    reach = 2.364624 * error  # Student's t of 7 degrees, 97.5 %
    assert found.ratio.estimate == pytest.approx(0.08)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((0.08 - reach, 0.08 + reach), rel=1e-6)
    # Noise: mean -0.01, with the variance undone.
    noise_reach = reach / math.sqrt(0.75)
    assert found.noise.estimate == pytest.approx(-0.01)
    assert (found.noise.low, found.noise.high) == pytest.approx((-0.01 - noise_reach, -0.01 + noise_reach), rel=1e-6)
    # Floor: sqrt((0.0020 + 4 * 0.0010) / (2 + 4) / 2) = sqrt(0.0005).
    assert found.floor == pytest.approx(math.sqrt(0.0005))
    assert found.pairs == 2


def test_one_pair_by_hand_among_another() -> None:
    found = weighed({"a": [pair(0.0, 0.01)], "b": [pair(0.0, 0.03)]})
    # Typical: the median of 0.0001 and 0.0009 is 0.0005. a has 0 + 1 + 4 = 5 degrees of freedom.
    reach = 2.570582 * math.sqrt((0.75 * 0.0001 + 4 * 0.75 * 0.0005) / 5)
    assert found["a"].ratio.high == pytest.approx(reach, rel=1e-6)
    assert found["a"].floor == pytest.approx(math.sqrt((0.0001 + 4 * 0.0005) / 5))


def test_nothing_measured_weighs_nothing() -> None:
    assert weigh({}, typical=0.01) == {}
    assert weigh({"a": []}, typical=0.01) == {}
    assert weighed({"a": [], "b": [pair(0.0, 0.01)]}).keys() == {"b"}


@given(PAIRS, st.floats(1, 10), st.integers(0, 5))
def test_more_noise_never_makes_an_interval_narrower(sample: list[PairedSample], factor: float, which: int) -> None:
    noisier, which = list(sample), which % len(sample)
    noisier[which] = replace(sample[which], noise=sample[which].noise * factor)
    before, after = weighed({"a": sample})["a"], weighed({"a": noisier})["a"]
    assert after.ratio.high - after.ratio.low >= (before.ratio.high - before.ratio.low) * (1 - 1e-12)
    assert after.floor >= before.floor * (1 - 1e-12)


@given(PAIRS)
def test_an_interval_is_around_its_estimate_and_wider_where_the_others_are_noisy(sample: list[PairedSample]) -> None:
    quiet = [replace(each, noise=each.noise / 100) for each in sample]
    noisy = {name: [pair(0.0, 0.4), pair(0.0, -0.3)] for name in "bcd"}
    alone, among = weighed({"a": quiet})["a"], weighed({"a": quiet} | noisy)["a"]
    assert among.ratio.low <= among.ratio.estimate <= among.ratio.high
    assert among.ratio.estimate == alone.ratio.estimate
    assert among.ratio.high > alone.ratio.high
    assert among.floor > alone.floor


def judged(first: list[PairedSample], fresh: list[PairedSample], others: dict[str, list[PairedSample]]) -> str:
    """The verdict on one benchmark among others."""
    typical = typical_noise({"a": first + fresh} | others)
    looks, later, every = (weigh({"a": sample} | others, typical) for sample in (first, fresh, first + fresh))
    return verdict(looks["a"], later.get("a"), every["a"], RULES)


@given(PAIRS, PAIRS, st.lists(PAIRS, max_size=3))
def test_head_and_base_exchanged_exchange_slower_and_faster(
    first: list[PairedSample], fresh: list[PairedSample], others: list[list[PairedSample]]
) -> None:
    def signed(sample: list[PairedSample], sign: float) -> list[PairedSample]:
        return [replace(each, ratio=sign * each.ratio) for each in sample]

    rest = {f"b{index}": other for index, other in enumerate(others)}
    there, back = (judged(signed(first, sign), signed(fresh, sign), rest) for sign in (1.0, -1.0))
    assert back == {"SLOWER": "FASTER", "FASTER": "SLOWER"}.get(there, there)


@given(PAIRS, st.floats(-0.5, 0.5))
def test_a_shift_of_all_ratios_shifts_the_interval(sample: list[PairedSample], shift: float) -> None:
    before = weighed({"a": sample})["a"].ratio
    after = weighed({"a": [replace(each, ratio=each.ratio + shift) for each in sample]})["a"].ratio
    assert after.estimate == pytest.approx(before.estimate + shift, abs=1e-9)
    assert after.high - after.low == pytest.approx(before.high - before.low, abs=1e-9)


@given(PAIRS)
def test_the_first_look_alone_accuses_nobody(sample: list[PairedSample]) -> None:
    assert judged(sample, [], {}) in {"SAME", "UNCERTAIN"}


WIDE = evidence(0.0, 1.0)


@pytest.mark.parametrize(
    ("first", "fresh", "every", "expected"),
    [
        # log 1.02 is 0.0198, log 1.05 is 0.0488.
        (evidence(0.10), evidence(0.10), WIDE, "SLOWER"),
        (evidence(-0.10), evidence(-0.10), WIDE, "FASTER"),
        (evidence(0.10), WIDE, evidence(0.0), "SAME"),
        (evidence(0.0), None, evidence(0.0), "SAME"),
        (evidence(0.10), None, evidence(0.10), "UNCERTAIN"),
        (WIDE, WIDE, WIDE, "UNCERTAIN"),
        # One end beyond the margin, or the other.
        (WIDE, None, evidence(0.0395), "UNCERTAIN"),
        (WIDE, None, evidence(-0.0395), "UNCERTAIN"),
        (WIDE, None, evidence(0.028), "SAME"),
        (WIDE, None, evidence(-0.028), "SAME"),
        # Proved different by 2 %, but less than 5 % apart: nothing of that is the same.
        (WIDE, None, evidence(0.035), "UNCERTAIN"),
        (WIDE, None, evidence(-0.035), "UNCERTAIN"),
        (evidence(0.035), evidence(0.035), evidence(0.035), "SLOWER"),
        # Less than two floors is not proved, whatever the interval.
        (WIDE, None, evidence(0.035, floor=0.02), "SAME"),
        # Too few confirmations accuse nobody, and clear as any pair does.
        (evidence(0.10), evidence(0.10, pairs=2), WIDE, "UNCERTAIN"),
        (evidence(-0.10), evidence(-0.10, pairs=2), WIDE, "UNCERTAIN"),
        (evidence(0.10), evidence(0.0, pairs=1), evidence(0.0), "SAME"),
        # The first look saw it the other way round, or not at all.
        (evidence(-0.001), evidence(0.10), WIDE, "UNCERTAIN"),
        (evidence(0.001), evidence(-0.10), WIDE, "UNCERTAIN"),
        (evidence(0.0), evidence(0.10), WIDE, "UNCERTAIN"),
        # The near end has to be beyond the threshold, ...
        (evidence(0.03), evidence(0.0297), WIDE, "UNCERTAIN"),
        (evidence(0.03), evidence(0.0299), WIDE, "SLOWER"),
        (evidence(-0.03), evidence(-0.0297), WIDE, "UNCERTAIN"),
        (evidence(-0.03), evidence(-0.0299), WIDE, "FASTER"),
        # ... and beyond two floors, of the fresh pairs' own.
        (evidence(0.10), evidence(0.10, floor=0.0449), WIDE, "SLOWER"),
        (evidence(0.10), evidence(0.10, floor=0.0451), WIDE, "UNCERTAIN"),
    ],
)
def test_verdicts(first: Evidence, fresh: Evidence | None, every: Evidence, expected: str) -> None:
    assert verdict(first, fresh, every, RULES) == expected


def test_rules_are_the_users() -> None:
    slower = (evidence(0.10),) * 3
    assert verdict(*slower, RULES) == "SLOWER"
    assert verdict(*slower, replace(RULES, threshold=0.15, margin=0.20)) == "SAME"
    assert verdict(*slower, replace(RULES, threshold=0.15)) == "UNCERTAIN"
    assert verdict(*slower, replace(RULES, confirmations=4)) == "UNCERTAIN"
    assert verdict(*slower, replace(RULES, floor_multiple=100.0)) == "UNCERTAIN"


def test_a_first_look_that_leans_the_other_way_is_overruled_by_twelve_pairs() -> None:
    against, slower, every = evidence(-0.01), evidence(0.08, pairs=11), evidence(0.07, pairs=13)
    assert verdict(against, slower, every, RULES) == "UNCERTAIN"
    slower = replace(slower, pairs=12)
    assert verdict(against, slower, every, RULES) == "SLOWER"
    assert verdict(against, slower, evidence(0.025, pairs=14), RULES) == "SAME"  # all together prove nothing


NOTHING: Mapping[str, list[PairedSample]] = defaultdict(list)


def simulate(truth: float, benchmarks: int, rounds: int = 6, sd: float = 0.02) -> list[str]:
    """The gate's procedure on processes with normal noise: two first looks, then rounds over what is not settled."""
    generator = random.Random(f"{truth}")

    def draw() -> PairedSample:
        base, twin, head = (generator.gauss(0, sd) for _ in range(3))
        return pair(truth + head - (base + twin) / 2, twin - base)

    looks = {str(index): [draw(), draw()] for index in range(benchmarks)}
    fresh: dict[str, list[PairedSample]] = {name: [] for name in looks}
    first = weighed(looks)
    verdicts = {name: verdict(first[name], None, first[name], RULES) for name in looks}
    for _ in range(rounds):
        unsettled = [name for name in looks if verdicts[name] == "UNCERTAIN"]
        for name in unsettled:
            fresh[name].append(draw())
        typical = typical_noise({name: looks[name] + fresh[name] for name in looks})
        later, every = (
            weigh({name: more[name] + fresh[name] for name in unsettled}, typical) for more in (NOTHING, looks)
        )
        verdicts |= {name: verdict(first[name], later[name], every[name], RULES) for name in unsettled}
    return list(verdicts.values())


def test_equal_code_is_not_accused() -> None:
    verdicts = simulate(0.0, 2000)
    assert "SLOWER" not in verdicts
    assert "FASTER" not in verdicts
    assert verdicts.count("SAME") > 1800


def test_a_tenth_slower_is_found() -> None:
    verdicts = simulate(math.log(1.10), 500)
    assert verdicts.count("SLOWER") >= 0.98 * 500
    assert "FASTER" not in verdicts
