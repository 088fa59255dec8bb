"""The pytest plugin: benchmarks for every router, recorded durations into pytest-benchmark, the run into its JSON."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.case import Case, Replay
from bench.peers.memory_need import refuse_works_that_do_not_fit
from bench.presets import Preset
from bench.record.journal import Journal, JournalError, Unkept, counted
from bench.record.output import WholeFile
from bench.repetition.process import ProcessDiedError, RepetitionProcess
from bench.router.memory_need import DoesNotFitError, refuse_what_does_not_fit
from bench.run import Run
from bench.session import case_of, clock_mode, make_run, open_journal, scenario_of
from bench.terminal import lines
from bench.timing.clocks import ReplayClock
from bench.timing.group import CannotRunError
from bench.timing.modes import ClockMode
from harness.assets.errors import AssetError


class BenchmarkPlugin:
    """What the suite does at pytest's hooks, and the run that its benchmarks share.

    Args:
        preset: with the sizes that were asked for.
    """

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.clock = ReplayClock()
        self.run: Run | None = None
        self.journal: Journal | None = None
        self._waiting: set[str] = set()
        """Benchmarks that have not come to their end."""
        self._saved = False
        self._checks: Run | None = None
        """Where nothing is timed, what routers are checked with."""
        self._checked_alone = 0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a benchmark with every registered router: on each input of its scenario, or in a language model."""
        scenario = scenario_of(metafunc.module)
        if scenario is not None:
            for argument, names in scenario.parameters(self.preset).items():
                metafunc.parametrize(argument, names)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave what the preset asks for, and make pytest-benchmark read the recorded durations."""
        wanted: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            (wanted if self._is_wanted(item) else others).append(item)
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = wanted
        for item in items:
            if case_of(item):
                item.add_marker(pytest.mark.benchmark(timer=self.clock))

    def _is_wanted(self, item: pytest.Item) -> bool:
        scenario = scenario_of(getattr(item, "module", None))
        if scenario is None:
            return True
        if scenario.subject == "language_model" and clock_mode(item.config).ways:
            return False  # inside a language model calls are eager, or not made
        # Without an input, or a router, pytest makes one item that it would skip.
        return scenario.is_collected(self.preset) and case_of(item) is not None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Measure everything before the first test, which then only has to be told."""
        items = [item.nodeid for item in session.items if case_of(item)]
        if not items or session.config.option.collectonly or session.testsfailed or not _is_timed(session.config):
            return
        self._waiting.update(items)
        benchmarks: Any = session.config._benchmarksession  # type: ignore[attr-defined]  # pytest-benchmark's
        # Its tables cannot be sorted by the median, and know of no ratio and no interval: the suite's own are shown,
        # except where its comparison, or `--benchmark-verbose`, was asked for.
        benchmarks.quiet |= not (benchmarks.compare or benchmarks.verbose)
        try:
            cases = [case for item in session.items if (case := case_of(item))]
            for refuse in (refuse_what_does_not_fit, refuse_works_that_do_not_fit):
                refuse(self.preset, cases, session.config.getoption("--device"))
            self.journal = open_journal(session, self.preset)
            if self.journal.notice:
                print(f"\n{self.journal.notice}", file=sys.stderr)
            self.run = make_run(session, self.preset, self.journal)
            self.run.measure(lambda plan, folder: RepetitionProcess(folder))
        except (AssetError, DoesNotFitError, JournalError, ProcessDiedError) as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.fixture
    def replay(self, request: pytest.FixtureRequest, benchmark: Any) -> Replay:
        """Hand a router's recorded durations to pytest-benchmark.

        With `--benchmark-disable`, and under xdist, the router is only checked and called once.
        """

        def replay(case: Case) -> None:
            if benchmark.disabled or self.run is None:
                self._checks = self._checks or make_run(request.session, self.preset, Unkept())
                try:
                    self._checks.suite(case).expect_sound(case)
                except CannotRunError as reason:
                    pytest.skip(str(reason))
                return
            suite = self.run.suite(case)
            try:
                durations = suite.durations(case)
            except CannotRunError as reason:
                pytest.skip(str(reason))
            benchmark.extra_info.update(suite.extra_info(case))
            benchmark.group = suite.label(case)
            self.clock.load(durations)
            benchmark.pedantic(lambda: None, rounds=len(durations))

        return replay

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add what torch runs on; drop the momentary clock rates, which make every two machines look different."""
        for field in ("hz_actual", "hz_actual_friendly"):
            machine_info["cpu"].pop(field, None)
        machine_info["torch"] = torch.__version__
        if torch.cuda.is_available():
            machine_info["gpu"] = torch.cuda.get_device_name()

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Add the run's summary. Called once for each file that is written."""
        if self.run is not None:
            output_json["study"] = self.run.summary()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note that a benchmark has come to its end, right or wrong."""
        if report.when == "call":
            self._waiting.discard(report.nodeid)
            self._checked_alone += self.run is None and Path(report.fspath).name.startswith("bench_")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A table of every group, or that there is none."""
        if self._checked_alone:
            terminalreporter.write_line(
                f"Nothing was timed: {self._checked_alone} benchmarks were checked alone, because of "
                "--benchmark-disable or xdist (-n), under which benchmarks would disturb each other."
            )
        if self.run is not None:
            clock = self.run.context.clock
            if clock != ClockMode.parse(None, device="cpu"):
                terminalreporter.write_line(f"Clock: {clock.name}, L2 {clock.l2}.")
            for line in lines(self.run.context.groups.values()):
                terminalreporter.write_line(line)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Put the JSON into its place, once it is written and the tables are shown, whatever those have led to."""
        output = session.config.getoption("--benchmark-json", None)
        try:
            try:
                yield
            except OSError:
                raise
            except Exception:  # a comparison that failed, after the JSON was written
                self._keep(output)
                raise
            self._keep(output)
        except BrokenPipeError:  # of those who read the tables
            raise
        except OSError as error:
            raise pytest.UsageError(f"{error.filename or output}: cannot be written: {error.strerror}") from None

    def _keep(self, output: Any) -> None:
        if isinstance(output, WholeFile):
            output.keep()
        self._saved = True

    def pytest_unconfigure(self) -> None:
        """A run of which all was measured and saved needs its journal no more; any other keeps it for `--resume`."""
        if self.journal is None:
            return
        if self._saved and not self._waiting:
            self.journal.finish()
            return
        self.journal.close()
        if len(self.journal):
            print(
                f"\n{self.journal.path} keeps {counted(len(self.journal))}: the same command with --resume continues.",
                file=sys.stderr,
            )


def _is_timed(config: pytest.Config) -> bool:
    """Not with `--benchmark-disable` or `--benchmark-skip`, nor where xdist would time several benchmarks at once."""
    session = getattr(config, "_benchmarksession", None)
    return session is not None and not session.disabled and not session.skip
