"""All groups of a run, with processes that are none: what they measure is made up, and some die."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.record.journal import Journal
from bench.repetition.measure import Repetitions
from bench.repetition.process import Measures, ProcessDiedError
from bench.timing.group import Block, GroupSpec
from harness.progress import Progress

Answer = Callable[[str, int, int], Block]
"""(group, repetition, number of the process) -> what it measures."""


def spec(key: str, repetitions: int = 2) -> GroupSpec:
    routers = ("linear", "linear@again", "mlp")
    return GroupSpec(key, key, "random", routers, *routers[:2], False, 4, warmup=1, repetitions=repetitions, rounds=1)


def steady(group: str, index: int, process: int) -> Block:
    names = ("linear", "linear@again", "mlp")
    return Block({name: [1000 * (index + 1)] for name in names}, dict.fromkeys(names, 3 + process))


class Processes:
    """Starts what stands for a process, and notes what each was asked for."""

    def __init__(self, answer: Answer = steady, deaths: int = 0) -> None:
        self.deaths = deaths
        self.asked: list[list[str]] = []
        self.calls_per_round: list[Mapping[str, int] | None] = []
        self._answer = answer

    @contextmanager
    def start(self) -> Iterator[Measures]:
        asked: list[str] = []
        self.asked.append(asked)
        number, processes = len(self.asked) - 1, self

        class Process:
            def measure(
                self, spec: GroupSpec, calls_per_round: Mapping[str, int] | None, index: int, tick: Callable[[], object]
            ) -> Block:
                asked.append(f"{spec.key} {index}")
                processes.calls_per_round.append(calls_per_round)
                return processes._answer(spec.key, index, number)

            def peak(self) -> float:
                if number < processes.deaths:
                    raise ProcessDiedError("exit code 1: no room")
                return float(number)

        yield Process()


Run = Callable[..., Repetitions]


@pytest.fixture
def run(tmp_path: Path, no_bar: Progress) -> Run:
    """Measures two groups; again, it goes on with the journal of the time before."""
    path = tmp_path / "journal"

    def measure(processes: Processes, *groups: GroupSpec) -> Repetitions:
        with Journal(path, {}, resume=path.exists()) as journal:
            repetitions = Repetitions(groups or (spec("router"), spec("token")), journal, no_bar, processes.start)
            repetitions.measure()
            return repetitions

    return measure


def test_a_process_measures_a_block_of_every_group_and_the_next_one_the_next(run: Run) -> None:
    processes = Processes()
    measured = run(processes)
    assert processes.asked == [["router 0", "token 0"], ["router 1", "token 1"]]
    assert [block.durations["mlp"] for block in measured.blocks["token"]] == [[1000], [2000]]
    assert measured.peaks == [0, 0, 1, 1]


def test_all_processes_make_as_many_calls_a_round_as_the_first(run: Run) -> None:
    processes = Processes()
    run(processes, spec("router", repetitions=3))
    assert processes.calls_per_round == [None, *[dict.fromkeys(("linear", "linear@again", "mlp"), 3)] * 2]


def test_what_the_journal_has_is_not_measured_again(run: Run) -> None:
    def stopped(group: str, index: int, process: int) -> Block:
        if (group, index) == ("token", 1):
            raise KeyboardInterrupt
        return steady(group, index, process)

    with pytest.raises(KeyboardInterrupt):
        run(Processes(stopped))
    processes = Processes()
    measured = run(processes)
    assert processes.asked == [["token 1"]]
    assert {key: len(blocks) for key, blocks in measured.blocks.items()} == {"router": 2, "token": 2}
    nothing = Processes()
    assert run(nothing).blocks == measured.blocks
    assert nothing.asked == []


def test_a_block_whose_process_dies_is_measured_again_by_another(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def dying(group: str, index: int, process: int) -> Block:
        if (group, process) == ("token", 0):
            raise ProcessDiedError("killed by SIGKILL")
        return steady(group, index, process)

    processes = Processes(dying)
    measured = run(processes)
    assert processes.asked == [["router 0", "token 0"], ["token 0"], ["router 1", "token 1"]]
    assert all(not block.failed for blocks in measured.blocks.values() for block in blocks)
    assert capsys.readouterr().err == "\n1/2 token: its process died (killed by SIGKILL)\n"


def test_a_process_that_dies_before_its_first_block_is_replaced_by_another(run: Run) -> None:
    processes = Processes(deaths=1)
    assert run(processes).peaks == [1, 1, 2, 2]
    assert processes.asked == [[], ["router 0", "token 0"], ["router 1", "token 1"]]


def test_processes_that_cannot_begin_end_the_run_which_can_be_resumed(run: Run) -> None:
    said = r"^peak \| repetition 0: its process died \(exit code 1: no room\), 2 times$"
    with pytest.raises(ProcessDiedError, match=said):
        run(Processes(deaths=9))
    assert len(run(Processes()).blocks["token"]) == 2


def test_a_block_whose_process_dies_twice_fails_and_the_others_go_on(run: Run) -> None:
    def dying(group: str, index: int, process: int) -> Block:
        if group == "router":
            raise ProcessDiedError("exit code 3: out of memory")
        return steady(group, index, process)

    measured = run(Processes(dying))
    said = measured.blocks["router"][0].failed["mlp"]
    assert said == "1/2 router: its process died (exit code 3: out of memory), 2 times"
    assert [block.failed for block in measured.blocks["token"]] == [{}, {}]
    recovered = Processes()
    assert all(not block.failed for block in run(recovered).blocks["router"])
    assert recovered.asked == [["router 0"], ["router 1"]]


def test_a_router_that_failed_has_another_chance_when_the_run_is_resumed(run: Run) -> None:
    def failing(group: str, index: int, process: int) -> Block:
        names = ("linear", "linear@again")
        return Block({name: [1] for name in names}, dict.fromkeys(names, 1), {"mlp": "ValueError: no good"})

    assert run(Processes(failing)).blocks["token"][1].failed == {"mlp": "ValueError: no good"}
    assert all("mlp" in block.durations for block in run(Processes()).blocks["token"])
