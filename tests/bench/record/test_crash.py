"""`pytest bench`, killed: whatever the moment, `--resume` goes on, and the JSON is whole or not there.

Eight kills at random moments, and three double interrupts; `MOE_KILLS=200 MOE_INTERRUPTS=100 pytest
tests/bench/record/test_crash.py` makes more.

How runs are made is in `tests/bench/runs.py`.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bench.runs import SMALL, Files, Outcome, Zygote, killed_in_the_middle

KILLS = int(os.environ.get("MOE_KILLS", "8"))
INTERRUPTS = int(os.environ.get("MOE_INTERRUPTS", "3"))
LARGE = "(random or supplemental) and (linear or hash)"  # all three scenarios
LANGUAGE_MODEL = "(bench_inject or bench_decode) and linear"
NOTHING = "nothing to resume, starting anew"


def exact(document: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every run: all but durations, and the moment."""
    benchmarks = []
    for benchmark in document["benchmarks"]:
        info = dict(benchmark["extra_info"])
        timing = info.pop("timing")
        stats = {name: benchmark["stats"][name] for name in ("rounds", "iterations")}
        kept = {name: timing[name] for name in ("clock", "repetitions", "rounds", "baseline")}
        names = {name: benchmark[name] for name in ("fullname", "group", "params")}
        benchmarks.append(names | {"info": info, "stats": stats, "timing": kept})
    volatile = {"conditions", "load", "noise"}
    study = {name: value for name, value in document["study"].items() if name not in volatile}
    return {"benchmarks": benchmarks, "study": study}


def structure(value: Any) -> Any:
    """Keys, lengths and kinds of values, without the values."""
    if isinstance(value, dict):
        return {key: structure(item) for key, item in value.items()}
    if isinstance(value, list):
        return [structure(item) for item in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def assert_same_run(document: dict[str, Any] | None, whole: dict[str, Any]) -> None:
    assert document is not None
    assert exact(document) == exact(whole)
    assert structure(document) == structure(whole)


def assert_went_on(outcome: Outcome, before: list[bytes]) -> None:
    """The run said, if it came that far, that it goes on with what was there before."""
    assert "Traceback" not in outcome.output
    assert "INTERNALERROR" not in outcome.output
    if "continuing after" in outcome.output or NOTHING in outcome.output:
        found = re.search(r"continuing after (\d+) finished", outcome.output)
        assert (int(found[1]) if found else 0) == max(len(before) - 1, 0)


def test_killed_at_any_moment_and_continued_it_ends_as_if_nothing_had_happened(zygote: Zygote, files: Files) -> None:
    assert zygote.run(files, LARGE).code == 0
    whole = files.document()
    assert whole is not None
    seconds = zygote.run(files, LARGE).seconds  # the first one compiled what pytest rewrites
    files.json.unlink()
    moments = random.Random(0)
    kills = resumed = 0
    lines: list[bytes] = []
    while kills < KILLS or lines:  # what the last kill left is continued to its end
        kill_after = moments.uniform(0, 1.1 * seconds) if kills < KILLS else None
        outcome = zygote.run(files, LARGE, "--resume", kill_after=kill_after)
        assert outcome.code in {0, -signal.SIGKILL}, outcome.output
        assert_went_on(outcome, lines)
        kills += outcome.code != 0
        resumed += "continuing after" in outcome.output
        before, lines = lines, files.lines()
        if document := files.document():
            assert_same_run(document, whole)
        if lines:
            assert lines[: len(before)] == before
            assert outcome.code != 0
        else:  # finished, and another begins; or killed before its first line
            assert document or not before, "finished measurements were lost"
            files.json.unlink(missing_ok=True)
    assert resumed > KILLS / 4
    assert {path.name for path in files.folder.iterdir()} <= {"journal.lock"}


def test_killed_at_any_step_towards_its_files_it_has_journal_or_json(zygote: Zygote, files: Files) -> None:
    assert zygote.run(files, SMALL).code == 0
    whole = files.document()
    assert whole is not None
    earlier = json.dumps({"an": "earlier run's"})
    longest: list[bytes] = []
    step = 0
    while True:
        files.json.write_text(earlier)
        files.journal.unlink(missing_ok=True)
        outcome = zygote.run(files, SMALL, kill_at=step)
        lines, replaced = files.lines(), files.json.read_text() != earlier
        if replaced:
            assert_same_run(files.document(), whole)
        assert replaced or len(lines) >= len(longest), f"measurements were lost at step {step}"
        longest = max(longest, lines, key=len)
        if outcome.code == 0:
            break
        # Lines in the middle are written alike, each in a number of steps that is no multiple of three.
        step += 3 if 3 <= len(lines) < 7 else 1
    assert replaced
    assert not files.journal.exists()
    assert len(longest) == 8  # configuration, what was resolved, two blocks, two peaks, two seeds
    assert step > 2 * len(longest) + 3  # so that steps are still seen: two for a line, and those of the JSON


def test_interrupted_twice_it_keeps_its_journal_or_has_its_json(zygote: Zygote, files: Files) -> None:
    seconds = zygote.run(files, SMALL).seconds
    files.json.unlink()
    moments = random.Random(1)
    kept = 0
    for _ in range(INTERRUPTS):
        first = moments.uniform(0.5, 1) * seconds
        before = len(files.lines())
        outcome = zygote.run(files, SMALL, "--resume", interrupts=(first, first + moments.uniform(0, 0.5)))
        lines = files.lines()
        if files.json.exists():
            # 70 is the zygote's: the interrupt came when all was written, and pytest was about to return.
            assert outcome.code in {0, 1, 2, 4, 70}, outcome.output
            files.json.unlink()
        else:
            assert len(lines) >= before, outcome.output
            kept += len(lines) > 1
            assert len(lines) < 2 or f"keeps {len(lines) - 1} finished" in outcome.output
            assert len(lines) < 2 or "--resume continues" in outcome.output
    assert zygote.run(files, SMALL, "--resume").code == 0
    assert not files.journal.exists()


def test_a_run_that_stops_at_a_router_that_fails_keeps_the_others(zygote: Zygote, files: Files) -> None:
    wrong = files.folder / "wrong.py"
    wrong.write_text(
        "import torch\nfrom pathlib import Path\nfrom routers.scorers.linear import LinearRouter\n"
        "class AWrongRouter(LinearRouter):\n"
        "    def compute_router_logits(self, hidden_states):\n"
        "        if not Path(__file__).with_name('mended').exists():\n"
        "            raise ArithmeticError('on purpose')\n"
        "        return super().compute_router_logits(hidden_states)\n"
    )
    select = "bench_router and supplemental and (wrong or linear)"
    options = ("-x", f"--router={wrong}:AWrongRouter")
    stopped = zygote.run(files, select, *options)
    assert stopped.code == pytest.ExitCode.TESTS_FAILED
    assert "ArithmeticError: on purpose" in stopped.output
    finished = len(files.lines()) - 1
    assert finished >= 3
    assert f"{files.journal} keeps {finished} finished measurements" in stopped.output
    files.json.unlink(missing_ok=True)
    (files.folder / "mended").touch()
    recovered = zygote.run(files, select, *options, "--resume")
    assert "Traceback" not in recovered.output
    assert f"continuing after {finished} finished" in recovered.output
    # Its blocks were measured without the router, which therefore is said to have failed; nothing else is wrong.
    assert "failed in a part of this run: measure it again from the start" in recovered.output
    assert recovered.code == pytest.ExitCode.TESTS_FAILED


def test_a_comparison_that_fails_ends_a_run_like_any_other(zygote: Zygote, files: Files) -> None:
    storage = f"--benchmark-storage=file://{files.folder / 'stored'}"
    assert zygote.run(files, SMALL, storage, "--benchmark-save=first").code == 0
    compared = zygote.run(files, SMALL, storage, "--benchmark-compare", "--benchmark-compare-fail=median:0.000001%")
    assert compared.code != 0 or "regressed" not in compared.output
    assert files.document()
    assert not files.journal.exists()


@pytest.fixture
def unfinished(zygote: Zygote, files: Files) -> list[bytes]:
    """The lines of a run that was killed in the middle."""
    return killed_in_the_middle(zygote, files, SMALL)


@dataclass(frozen=True)
class Found:
    """A journal that `--resume` meets, made of an unfinished one, and what must come of it."""

    content: Callable[[list[bytes]], bytes]
    code: int
    said: str


CASES = {
    "torn in its last line": Found(lambda lines: b"\n".join(lines)[:-9], 0, "dropping a torn last line"),
    "torn in its first entry": Found(
        lambda lines: b"\n".join(lines[:2])[:-9], 0, "after 0 finished measurements, dropping a torn last line"
    ),
    "without an entry": Found(lambda lines: lines[0] + b"\n", 0, NOTHING),
    "torn in its first line": Found(lambda lines: lines[0][:50], 0, NOTHING),
    "torn at the end of its first line": Found(lambda lines: lines[0], 0, NOTHING),
    "empty": Found(lambda lines: b"", 0, NOTHING),
    "of other options": Found(
        lambda lines: lines[0].replace(b'"threads":1', b'"threads":2') + b"\n",
        pytest.ExitCode.USAGE_ERROR,
        "made with another configuration (different: threads)",
    ),
    "somebody's text": Found(lambda lines: b"Dear diary", pytest.ExitCode.USAGE_ERROR, "not a journal of this suite"),
    "with an entry that is none": Found(
        lambda lines: lines[0] + b"\n5\n", pytest.ExitCode.USAGE_ERROR, "not a journal of this suite"
    ),
}


def test_whatever_a_kill_or_a_user_leaves_as_a_journal_is_continued_or_refused_in_a_line(
    zygote: Zygote, files: Files, unfinished: list[bytes]
) -> None:
    for name, found in CASES.items():
        content = found.content(unfinished)
        files.json.unlink(missing_ok=True)
        files.journal.write_bytes(content)
        outcome = zygote.run(files, SMALL, "--resume")
        assert (outcome.code, found.said in outcome.output) == (found.code, True), f"{name}: {outcome.output}"
        assert "Traceback" not in outcome.output, name
        assert files.json.exists() == (found.code == 0), name
        if found.code:
            assert files.journal.read_bytes() == content, name


def test_benchmarks_inside_a_language_model_are_continued_like_the_others(zygote: Zygote, files: Files) -> None:
    assert zygote.run(files, LANGUAGE_MODEL).code == 0
    whole = files.document()
    assert whole is not None
    assert len(whole["benchmarks"]) == 2
    files.json.unlink()
    # The configuration, the first scenario's three, and one of the other's.
    unfinished = len(killed_in_the_middle(zygote, files, LANGUAGE_MODEL, lines=5)) - 1
    resumed = zygote.run(files, LANGUAGE_MODEL, "--resume")
    assert (resumed.code, f"continuing after {unfinished} finished measurements" in resumed.output) == (0, True)
    assert_same_run(files.document(), whole)
    assert not files.journal.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_json_that_cannot_be_written_is_one_line_and_costs_no_measurement(zygote: Zygote, files: Files) -> None:
    device = "/dev/full"
    outcome = zygote.run(files, SMALL, f"--benchmark-json={device}")
    assert outcome.code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {device}: cannot be written: No space left on device\n" in outcome.output
    assert f"{files.journal} keeps 7 finished measurements: the same command with --resume continues." in outcome.output
    assert "Traceback" not in outcome.output
    finished = len(files.lines()) - 1
    resumed = zygote.run(files, SMALL, "--resume")
    assert (resumed.code, finished) == (0, 7)
    assert f"continuing after {finished} finished measurements" in resumed.output
    assert f"Wrote benchmark data in: {files.json}\n" in resumed.output
    assert files.document()


@pytest.mark.parametrize(("option", "name"), [("--journal", "a folder"), ("--benchmark-json", "a folder")])
def test_a_folder_in_place_of_a_file_is_one_line_before_anything_is_measured(
    zygote: Zygote, files: Files, option: str, name: str
) -> None:
    (files.folder / name).mkdir()
    outcome = zygote.run(files, SMALL, f"{option}={files.folder / name}", "--resume")
    assert outcome.code == pytest.ExitCode.USAGE_ERROR
    assert f"{name}: cannot be" in outcome.output
    assert "Is a directory" in outcome.output
    assert "Traceback" not in outcome.output
    assert not files.json.exists()
