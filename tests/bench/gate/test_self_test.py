from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.gate.result_store import PrefixedStore
from bench.gate.revisions.git import resolve
from bench.gate.self_test import SLOWDOWNS, _wilson, self_test
from reports.loading.self_test import load_self_test

NAMES = [f"router | random | {name}" for name in "abc"]

Trial = Callable[..., dict[str, Any]]


@pytest.fixture
def tried(repository: Any, local_workers: Any, settings: Any, memory: Any, no_bar: Any) -> Trial:
    """The self-test's JSON on a made-up revision."""

    def run(trials: int, kept: Any = None, **script: Any) -> dict[str, Any]:
        repository.commit("as it is", **({"benchmarks": NAMES} | script))
        revision = resolve(repository.path, "main")
        document = self_test(repository.path, revision, settings, trials, kept or memory(), no_bar)
        assert repository.worktrees == []
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        result = repository.path.parent / "result.json"
        result.write_text(json.dumps(document))
        load_self_test(result)  # reports take whatever the self-test writes
        return document

    return run


def test_every_benchmark_gets_every_slowdown_once_in_twenty_one_trials(tried: Trial) -> None:
    document = tried(21)
    assert SLOWDOWNS == (0.02, 0.05, 0.10, 0.20, 1.0, 9.0, 999.0)  # the last three: 2, 10 and 1000 times
    levels = {level["slowdown"]: level for level in document["levels"]}
    assert list(levels) == [0.0, *SLOWDOWNS]
    assert [level["trials"] for level in levels.values()] == [21 * len(NAMES)] + 7 * [len(NAMES)]
    # First the trials of equal code, then the seven with slowdowns.
    equal, slowed = document["findings"][: 21 * len(NAMES)], document["findings"][21 * len(NAMES) :]
    assert {finding["slowdown"] for finding in equal} == {0.0}
    assert Counter((finding["benchmark"], finding["slowdown"]) for finding in slowed) == {
        (name, slowdown): 1 for name in NAMES for slowdown in SLOWDOWNS
    }
    # With processes that differ by 0.2 %.
    for slowdown in SLOWDOWNS[1:]:
        assert levels[slowdown]["found"] == 3
        assert levels[slowdown]["verdicts"] == {"SLOWER": 3}
        assert levels[slowdown]["estimate"]["mean"] == pytest.approx(1 + slowdown, rel=0.005)
        assert 0 < levels[slowdown]["estimate"]["sd"] < 0.01 * (1 + slowdown)
    assert (levels[0.0]["found"], levels[0.0]["verdicts"]) == (0, {"SAME": 63})
    false_alarms = document["false_alarms"]
    assert (false_alarms["trials"], false_alarms["alarms"], false_alarms["comparisons"]) == (21, 0, 63)
    assert false_alarms["verdicts"] == {"SAME": 63}
    assert (document["kind"], document["benchmarks"]) == ("self-test", NAMES)
    assert document["revision"]["subject"] == "as it is"


def test_alarms_are_counted_by_trial(tried: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where nobody is slower than anybody, whoever says so raises an alarm: all three in both trials make two.
    monkeypatch.setattr("bench.gate.verdicts.benchmark_result.verdict", lambda *_: "SLOWER")
    false_alarms = tried(2)["false_alarms"]
    assert (false_alarms["trials"], false_alarms["alarms"], false_alarms["comparisons"]) == (2, 2, 6)
    assert false_alarms["verdicts"] == {"SLOWER": 6}


def test_levels_without_a_trial_have_no_numbers(tried: Trial) -> None:
    levels = tried(1, benchmarks=NAMES[:1])["levels"]
    assert [level["trials"] for level in levels] == [1] + [0] * len(SLOWDOWNS)
    assert levels[0]["estimate"]["sd"] is None  # of one alone
    empty = levels[1]
    assert (empty["found"], empty["low"], empty["high"], empty["verdicts"]) == (0, None, None, {})
    assert empty["estimate"] == {"mean": None, "sd": None}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # z² = 3.8415. All of n: low n / (n + z²) = 40 / 43.8415; none: high z² / (n + z²) = 3.8415 / 43.8415.
        (40, 40, 0.9124, 1.0),
        (0, 40, 0.0, 0.0876),
        # 20 of 40: centre 1/2, half width z sqrt(0.25 / 40 + z² / 4 / 1600) / (1 + z² / 40) = 0.1480.
        (20, 40, 0.3520, 0.6480),
        (0, 1, 0.0, 0.7935),
    ],
)
def test_the_interval_of_a_share(successes: int, trials: int, low: float, high: float) -> None:
    assert _wilson(successes, trials) == {
        "low": pytest.approx(low, abs=5e-5),
        "high": pytest.approx(high, abs=5e-5),
    }
    assert _wilson(0, 0) == {"low": None, "high": None}


def test_a_part_of_a_journal(memory: Any) -> None:
    whole = memory()
    one, other = PrefixedStore(whole, "trial 1"), PrefixedStore(whole, "trial 2")
    one.append("round 0", [1])
    assert (one.get("round 0"), other.get("round 0")) == ([1], None)
    assert whole.results == {"trial 1 | round 0": [1]}


def test_interrupted_anywhere_it_goes_on_with_what_is_kept(tried: Trial, memory: Any, tmp_path: Path) -> None:
    script = {"benchmarks": NAMES[:2], "log": str(tmp_path / "log")}
    whole = memory()
    expected = tried(3, whole, **script)
    for n in range(0, whole.appended, 5):
        broken = memory(fail_at=n)
        with pytest.raises(KeyboardInterrupt):
            tried(3, broken, **script)
        resumed = memory(broken.results)
        random.seed(n)
        document = tried(3, resumed, **script)
        for key in ("benchmarks", "false_alarms"):
            assert document[key] == expected[key]
        counts = [(level["trials"], level["verdicts"]) for level in document["levels"]]
        assert counts == [(level["trials"], level["verdicts"]) for level in expected["levels"]]
        kept = {key: value for key, value in broken.results.items() if not key.endswith("elapsed")}
        assert resumed.results.items() >= kept.items()
    (tmp_path / "log").unlink()
    again = tried(3, memory(whole.results), **script)
    assert again["findings"] == expected["findings"]
    assert '"load"' not in (tmp_path / "log").read_text()
