"""Options of the suite, for `pytest bench` and `pytest tests` alike."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from bench.plugin import BenchmarkPlugin
from bench.presets import PRESETS, Preset, get_preset
from bench.record.output import WholeFile
from bench.scenario import get_scenario
from bench.session import clock_mode
from bench.shapes import shapes_table
from bench.sizes import DTYPES, NUMBERS, asked_sizes
from bench.timing.modes import L2_STATES, MODES, available_devices
from harness.command_line import dashes_for_a_value, most_threads
from routers import ask_for, list_routers, register_from_path

NEEDED_PYTEST_BENCHMARK = (5, 2)
"""Before this version `--benchmark-json` is an open file and no path."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("moe", "Mixture-of-Experts routers")
    group.addoption("--preset", default="quick", help=f"how much is measured: {', '.join(PRESETS)} (quick)")
    group.addoption(
        "--shape",
        action="append",
        default=[],
        metavar="SHAPE",
        help="sizes and selection rule of a model that ships; may be repeated; 'list' shows them all",
    )
    for name in NUMBERS:
        option, said = f"--{name.replace('_', '-')}", name.replace("_", " ")
        group.addoption(option, metavar="N,N,...", help=f"{said}, one or several: a group each (the preset's)")
    group.addoption("--selection", metavar="RULE,...", help="selection rules, one or several (softmax)")
    group.addoption("--dtype", metavar="DTYPE,...", help=f"one or several of {', '.join(DTYPES)} (float32)")
    group.addoption("--device", default="cpu", help="cpu or cuda (cpu)")
    group.addoption(
        "--clock",
        metavar="MODE",
        help=f"what a duration is: {', '.join(MODES)}, or several joined by + (cpu: host, cuda: events)",
    )
    group.addoption("--l2", default="warm", help=f"the L2 cache before a call: {' or '.join(L2_STATES)} (warm)")
    group.addoption("--threads", type=int, default=1, help="torch's threads while something is timed (1)")
    group.addoption(
        "--router",
        action="append",
        default=[],
        metavar="ROUTER",
        help="one more router: package.module:Class, path/to/file.py:Class, the name of one beyond the paper's, or "
        "'all'; may be repeated",
    )
    group.addoption(
        "--model",
        action="append",
        default=[],
        help="pretrained encoder: a directory, 'embedded', 'embedded-768' or a hub's name; "
        "repeated, the first that can be had is taken (the preset's own)",
    )
    group.addoption(
        "--language-model",
        action="append",
        default=[],
        help="Mixture-of-Experts language model: a directory, 'embedded', 'tiny' or a hub's name; "
        "repeated, the first that can be had is taken (the preset's own)",
    )
    group.addoption("--resume", action="store_true", help="continue a killed run from its journal")
    group.addoption("--journal", default=".benchmarks/journal.jsonl", help="where finished measurements are kept")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be run before anything is collected."""
    _check_pytest_benchmark(config)
    if complaint := dashes_for_a_value([str(word) for word in config.invocation_params.args]):
        raise pytest.UsageError(complaint)
    try:
        preset = _with_sizes(get_preset(config.getoption("--preset")), config)
        for target in config.getoption("--router"):
            ask_for(register_from_path(target) if ":" in target else target)
        list_routers()  # an installed package may give one a name that it must not have
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(BenchmarkPlugin(preset), "moe-benchmarks")
    device = config.getoption("--device")
    if device not in available_devices():
        raise pytest.UsageError(
            f"unknown device {device!r}; on this machine there are: {', '.join(available_devices())}"
        )
    try:
        clock_mode(config)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if not 1 <= config.getoption("--threads") <= most_threads():
        raise pytest.UsageError(f"--threads is {config.getoption('--threads')}, expected 1 to {most_threads()}")
    json_path: Path | None = config.getoption("--benchmark-json", None)
    if json_path is not None:
        # pytest-benchmark opens it at the very end, when what is wrong with it would cost the whole run.
        try:
            json_path.parent.mkdir(parents=True, exist_ok=True)
            if WholeFile.suits(json_path):
                config.option.benchmark_json = WholeFile(json_path)
        except OSError as error:
            raise pytest.UsageError(f"{json_path}: cannot be written: {error.strerror}") from None


def _with_sizes(preset: Preset, config: pytest.Config) -> Preset:
    """The preset with the sizes that options ask for; a ValueError says what is wrong with them."""
    shapes = config.getoption("--shape")
    if "list" in shapes:
        print("\n".join(shapes_table()))
        pytest.exit("nothing was run", returncode=0)
    options = {name: config.getoption(f"--{name.replace('_', '-')}") for name in (*NUMBERS, "selection", "dtype")}
    if sizes := asked_sizes(shapes, **options):
        preset = replace(preset, sizes=sizes)
    preset.check_sizes()
    for name in preset.scenarios if sizes else ():
        get_scenario(name).check_sizes(preset)
    return preset


def _check_pytest_benchmark(config: pytest.Config) -> None:
    """Refuse a pytest-benchmark that is too old, where it is in use."""
    if not hasattr(config.option, "benchmark_json"):
        return
    installed = metadata.version("pytest-benchmark")
    if tuple(map(int, installed.split(".")[:2])) < NEEDED_PYTEST_BENCHMARK:
        needed = ".".join(map(str, NEEDED_PYTEST_BENCHMARK))
        raise pytest.UsageError(f"pytest-benchmark {installed} is installed; this suite needs {needed} or newer")
