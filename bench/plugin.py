"""The pytest plugin: benchmarks for every router, recorded durations into pytest-benchmark, the run into its JSON."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch

from bench.case import Case, Replay
from bench.record.journal import JournalError
from bench.record.output import WholeFile
from bench.run import Run
from bench.session import case_of, make_run, scenario_of, uncaptured
from bench.timing.clocks import ReplayClock
from harness.assets.errors import AssetError


class BenchmarkPlugin:
    """What the suite does at pytest's hooks, and the run that its benchmarks share."""

    def __init__(self) -> None:
        self.clock = ReplayClock()
        self.run: Run | None = None
        self.exit_status: int | None = None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a benchmark with every registered router: on each input of its scenario, or in a language model."""
        scenario = scenario_of(metafunc.module)
        for argument, names in scenario.parameters().items() if scenario else ():
            metafunc.parametrize(argument, names)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Make pytest-benchmark read the recorded durations."""
        for item in items:
            if case_of(item):
                item.add_marker(pytest.mark.benchmark(timer=self.clock))

    @pytest.fixture
    def replay(self, request: pytest.FixtureRequest, benchmark: Any) -> Replay:
        """Measure the group of a benchmark once, then replay this router's part of it.

        With `--benchmark-disable`, and under xdist, the router is only checked and called once.
        """
        if self.run is None:
            self.run = make_run(request.session)
        run = self.run

        def replay(case: Case) -> None:
            suite = run.suite(case)
            if benchmark.disabled:
                suite.check(case)
                return
            try:
                # Uncaptured for the progress bars, which a captured test would keep to itself.
                with uncaptured(request.config):
                    durations = suite.durations(case)
                    info, label = suite.extra_info(case), suite.label(case)
            except (AssetError, JournalError) as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            benchmark.extra_info.update(info)
            benchmark.group = label
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

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """Put the JSON into its place, and remember how the run ended once it is there and the tables are shown.

        Until then, whatever happens, the journal stays.
        """
        output = session.config.getoption("--benchmark-json", None)
        try:
            yield
            if isinstance(output, WholeFile):
                output.keep()
        except BrokenPipeError:  # of those who read the tables
            raise
        except OSError as error:
            kept = f"; {self.run.context.journal.path} is kept for --resume" if self.run else ""
            pytest.exit(
                f"{error.filename or output}: cannot be written: {error.strerror}{kept}", pytest.ExitCode.USAGE_ERROR
            )
        self.exit_status = exitstatus

    def pytest_unconfigure(self) -> None:
        """A run that went to its end needs its journal no more; any other keeps it for `--resume`."""
        if self.run is None:
            return
        if self.exit_status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self.run.context.journal.finish()
        else:
            self.run.context.journal.close()
