"""What a run of `pytest bench` is made of: its options, its cases, its journal's configuration."""

from __future__ import annotations

import hashlib
import inspect
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench.case import Case
from bench.language_model.suite import LanguageModelSuite
from bench.peers.suite import PeerSuite
from bench.presets import Preset
from bench.record.journal import Journal, Results
from bench.router.inputs import Inputs
from bench.router.suite import RouterSuite
from bench.run import Run
from bench.scenario import Scenario
from bench.suite import Suite
from bench.timing.context import MeasurementContext
from bench.timing.modes import ClockMode
from harness.progress import progress_bar
from routers import get_router_class, list_routers
from routers.native import native_version

PACKAGES = ("routers", "harness", "bench")


def open_journal(session: pytest.Session, preset: Preset) -> Journal:
    """The journal of the run that the collected benchmarks ask for; raises `JournalError`."""
    config = session.config
    configuration = {
        "preset": preset.as_dict() | {"models": config.getoption("--model") or list(preset.models)},
        "language_models": config.getoption("--language-model"),
        "device": config.getoption("--device"),
        "threads": config.getoption("--threads"),
        "clock": asdict(clock_mode(config)),
        "torch": torch.__version__,
        "native": native_version(),
        "code": source_digest(config.rootpath),
        "benchmarks": sorted(item.nodeid for item in session.items if case_of(item)),
    }
    return Journal(config.rootpath / config.getoption("--journal"), configuration, resume=config.getoption("--resume"))


def clock_mode(config: pytest.Config) -> ClockMode:
    """What a duration is in this run; a ValueError says in one line what cannot be."""
    return ClockMode.parse(config.getoption("--clock"), config.getoption("--l2"), device=config.getoption("--device"))


def make_run(session: pytest.Session, preset: Preset, journal: Results) -> Run:
    """The run that the collected benchmarks ask for."""
    config = session.config
    device, num_threads = config.getoption("--device"), config.getoption("--threads")
    models, language_models = tuple(config.getoption("--model")), tuple(config.getoption("--language-model"))
    context = MeasurementContext(journal, progress_bar, device, num_threads, clock_mode(config))
    suites: list[Suite[Any]] = [
        RouterSuite(Inputs(preset, device, models), context),
        LanguageModelSuite(preset, context, language_models),
        PeerSuite(preset, context),
    ]
    run = Run(preset, context, suites)
    for item in session.items:
        if case := case_of(item):
            run.suite(case).plan(case)
    return run


def scenario_of(module: ModuleType | None) -> Scenario | None:
    """The scenario that a file of benchmarks measures, or None of any other file."""
    scenario = getattr(module, "SCENARIO", None)
    return scenario if isinstance(scenario, Scenario) else None


def case_of(item: pytest.Item) -> Case | None:
    """What a benchmark measures: its module has the scenario, its parameters are the rest."""
    scenario, callspec = scenario_of(getattr(item, "module", None)), getattr(item, "callspec", None)
    if scenario is None or callspec is None:
        return None
    names = {name: callspec.params.get(name, "") for name in ("router_name", "input_name")}
    if not all(isinstance(name, str) for name in names.values()):  # pytest's mark of an empty parameter
        return None
    return Case(scenario.name, names["router_name"], names["input_name"])


def source_digest(root: Path) -> str:
    """SHA-256 of the code that is measured and measures: a changed run is not continued with old results."""
    paths = {path for package in PACKAGES for path in (root / package).rglob("*.py")}
    paths |= set(root.glob("*.md")) | set(root.glob("docs/**/*.md"))  # the text of the input `prose`
    for name in list_routers():
        # Routers from elsewhere, through `--router` or an entry point. A broken one fails in its own benchmarks.
        with suppress(ValueError, TypeError, OSError):
            paths.add(Path(inspect.getfile(get_router_class(name))))
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()
