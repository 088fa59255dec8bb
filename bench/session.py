"""What a run of `pytest bench` is made of: its options, its journal's configuration, its progress bars."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tqdm import tqdm

from bench.case import Case, Part
from bench.language_model.study import ModelStudy
from bench.presets import get_preset
from bench.record.journal import Journal, JournalError
from bench.router.inputs import Inputs
from bench.router.scenarios import SCENARIOS
from bench.router.study import RouterStudy
from bench.study import Study
from bench.timing.context import Rig
from bench.timing.group import Bar
from routers import get_router_class, list_routers

Replay = Callable[[Case], None]
"""Measure if that has not happened yet, and hand the durations to pytest-benchmark."""

PACKAGES = ("routers", "harness", "bench")


def make_study(session: pytest.Session) -> Study:
    """The study that the collected benchmarks ask for."""
    config = session.config
    preset = get_preset(config.getoption("--preset"))
    device, num_threads = config.getoption("--device"), config.getoption("--threads")
    models, language_models = tuple(config.getoption("--model")), tuple(config.getoption("--language-model"))
    configuration = {
        "preset": asdict(preset) | {"models": models or preset.models},
        "language_models": language_models,
        "device": device,
        "threads": num_threads,
        "torch": torch.__version__,
        "code": source_digest(config.rootpath),
        "benchmarks": sorted(item.nodeid for item in session.items),
    }
    try:
        journal = Journal(
            config.rootpath / config.getoption("--journal"), configuration, resume=config.getoption("--resume")
        )
    except JournalError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    if journal.notice:
        with uncaptured(config):
            print(f"\n{journal.notice}", file=sys.stderr)
    rig = Rig(journal, progress_bar, device, num_threads)
    parts: list[Part] = [RouterStudy(Inputs(preset, device, models), rig), ModelStudy(preset, rig, language_models)]
    study = Study(preset, rig, parts)
    for item in session.items:
        if case := case_of(item):
            study.plan(case)
    return study


def case_of(item: pytest.Item) -> Case | None:
    """What a benchmark measures: its module names the scenario, its parameters the rest."""
    module: ModuleType | None = getattr(item, "module", None)
    scenario, callspec = getattr(module, "SCENARIO", None), getattr(item, "callspec", None)
    if scenario is None or callspec is None:
        return None
    names = callspec.params
    return Case(scenario, names["router_name"], names.get("input_name", ""))


def scenario_of(item: pytest.Item) -> str | None:
    """The scenario of a router's own benchmark, on an input.

    Those inside a language model are not offered to the gate: its fresh processes would load one each, and a router's
    share in their time is too small for a regression to be found in it.
    """
    case = case_of(item)
    return case.scenario if case and case.scenario in SCENARIOS else None


def source_digest(root: Path) -> str:
    """SHA-256 of the code that is measured and measures: a changed run is not continued with old results."""
    paths = {path for package in PACKAGES for path in (root / package).rglob("*.py")}
    paths |= set(root.glob("*.md")) | set(root.glob("*/*.md"))  # the text of the input `prose`
    for name in list_routers():
        # Routers from elsewhere, through `--router` or an entry point. A broken one fails in its own benchmarks.
        with suppress(ValueError, TypeError, OSError):
            paths.add(Path(inspect.getfile(get_router_class(name))))
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def progress_bar(what: str, steps: int) -> AbstractContextManager[Bar]:
    """A bar on standard error, for what takes longer than two seconds; rarely renewed where nobody watches."""
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=steps, desc=what, leave=False, delay=2, mininterval=interval)


@contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Let output through to the terminal."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield
