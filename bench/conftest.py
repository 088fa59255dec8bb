"""Benchmarks for every router and input; recorded durations into pytest-benchmark; the study into its JSON."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch

from bench.case import Case
from bench.language_model.scenarios import MODEL_SCENARIOS
from bench.language_model.shared_weights import STOCK
from bench.record.journal import JournalError
from bench.router.scenarios import SCENARIOS
from bench.session import Replay, make_study, uncaptured
from bench.study import Study
from bench.timing.clocks import ReplayClock
from harness.assets.errors import AssetError
from routers import list_routers

REPLAY_CLOCK = ReplayClock()
STUDY = pytest.StashKey[Study]()
STATUS = pytest.StashKey[int]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every benchmark runs with each registered router: on each of its scenario's inputs, or in a language model.

    There it runs with the model's own routers too.
    """
    scenario = getattr(metafunc.module, "SCENARIO", None)
    if scenario in MODEL_SCENARIOS:
        metafunc.parametrize("router_name", [STOCK, *list_routers()])
    if scenario in SCENARIOS:
        metafunc.parametrize("router_name", list_routers())
        metafunc.parametrize("input_name", SCENARIOS[scenario].inputs)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make pytest-benchmark read the recorded durations."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=REPLAY_CLOCK))


@pytest.fixture(scope="session")
def study(request: pytest.FixtureRequest) -> Study:
    """The run's study, planned from what was collected and selected."""
    study = make_study(request.session)
    request.config.stash[STUDY] = study
    return study


@pytest.fixture
def replay(request: pytest.FixtureRequest, benchmark: Any, study: Study) -> Replay:
    """Measure the group of a benchmark once, then replay this router's part of it.

    With `--benchmark-disable`, and under xdist, the router is only checked and called once.
    """

    def run(case: Case) -> None:
        part = study.part(case)
        if benchmark.disabled:
            part.check(case)
            return
        try:
            # Uncaptured for the progress bars, which a captured test would keep to itself.
            with uncaptured(request.config):
                durations = part.durations(case)
                info, label = part.extra_info(case), part.label(case)
        except (AssetError, JournalError) as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        benchmark.extra_info.update(info)
        benchmark.group = label
        REPLAY_CLOCK.load(durations)
        benchmark.pedantic(lambda: None, rounds=len(durations))

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add what torch runs on; drop the momentary clock rates, which make every two machines look different."""
    for field in ("hz_actual", "hz_actual_friendly"):
        machine_info["cpu"].pop(field, None)
    machine_info["torch"] = torch.__version__
    if torch.cuda.is_available():
        machine_info["gpu"] = torch.cuda.get_device_name()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Add the study. Called once for each file that is written."""
    study = config.stash.get(STUDY, None)
    if study is not None:
        output_json["study"] = study.summary()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """Remember how the run ended, once its JSON is on the disk and its tables are shown.

    Until then, whatever happens, the journal stays.
    """
    try:
        yield
    except BrokenPipeError:  # of those who read the tables
        raise
    except OSError as error:
        study = session.config.stash.get(STUDY, None)
        kept = f"; {study.rig.journal.path} is kept for --resume" if study else ""
        output = session.config.getoption("--benchmark-json", None)
        pytest.exit(
            f"{error.filename or output}: cannot be written: {error.strerror}{kept}", pytest.ExitCode.USAGE_ERROR
        )
    session.config.stash[STATUS] = exitstatus


def pytest_unconfigure(config: pytest.Config) -> None:
    """A run that went to its end needs its journal no more; any other keeps it for `--resume`."""
    study = config.stash.get(STUDY, None)
    if study is None:
        return
    if config.stash.get(STATUS, None) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        study.rig.journal.finish()
    else:
        study.rig.journal.close()
