"""The steps of the command, in order: programs, each of which goes on where it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.gpu.requirements import TO_COMPARE, TO_REPORT, TO_TEST, missing

ROOT = Path(__file__).parents[2]
RANDOM = "random and not supplemental"
"""pytest's -k: the paper's random input, for which nothing is fetched."""
PRESETS = {"cuda": "paper", "cpu": "quick"}
"""Device -> the preset of the paper's table there: on a CPU the paper's rounds take an hour."""
SHORT = {"paper": "ci"}
"""The preset of what is not the paper's table, where that is measured at length; otherwise they share one."""
SHAPES = ("mixtral", "olmoe", "qwen3-30b-a3b", "deepseek-v3", "qwen3-next")
DTYPES = ("bfloat16", "mixed")
SMALL_WORKS = {
    "smoke": ("--tokens", "5", "--hidden-size", "64", "--intermediate-size", "96", "--dtype", "float32"),
}
"""Preset -> options of the works beside others', where a moment is all that is wanted."""
FEW = f"{RANDOM} and (linear or attention or mlp) and not hadamard"


class Mode(NamedTuple):
    """A clock mode in which the router alone is measured: options of `pytest bench`, which routers, and its weight."""

    options: tuple[str, ...]
    select: str = RANDOM
    weight: float = 1


_COMPILE = Mode(("--clock", "compile"), FEW, weight=3)  # to compile a router takes half a minute, in the first process
MODES = {
    "cuda": {
        "host": Mode(("--clock", "host")),
        "graph": Mode(("--clock", "graph")),
        "flushed": Mode(("--l2", "flushed")),
        "graph-flushed": Mode(("--clock", "graph", "--l2", "flushed")),
        "compile": _COMPILE,
    },
    "cpu": {"compile": _COMPILE},
}
"""Device -> name -> what is not its default."""


@dataclass(frozen=True)
class Step:
    """A program to run.

    Attributes:
        name: of the step and of its files.
        title: in words, what it does.
        command: the program's words.
        weight: its share of the time that is left, beside those of the steps after it.
        least_s: it is not begun with less time than that.
        makes: what is there once it is done, or None.
        journal: what it goes on from, or None.
        again: it is run each time, from what the other steps have made.
        obstacle: why it is left out, or None.
    """

    name: str
    title: str
    command: tuple[str, ...]
    weight: float
    least_s: float = 20
    makes: Path | None = None
    journal: Path | None = None
    again: bool = False
    obstacle: str | None = None


def steps(device: str, preset: str, folder: Path) -> list[Step]:
    """All that the command does on a device, results into a folder."""
    bench = _Bench(device, SHORT.get(preset, preset), folder)
    paper = _Bench(device, preset, folder)
    return [
        _tests(device),
        paper.step("paper-router", "the paper's rounds, router alone", ["bench_router.py"], 4),
        *(
            bench.step(
                f"mode-{name}",
                f"the router alone, {' '.join(mode.options)}",
                ["bench_router.py"],
                mode.weight,
                mode.options,
                mode.select,
            )
            for name, mode in MODES[device].items()
        ),
        *_shapes(bench),
        _selection(device),
        _peers(device, preset, folder),
        paper.step("paper-training", "the paper's rounds, training step", ["bench_training.py"], 4),
        paper.step("paper-token", "the paper's rounds, one token with its experts", ["bench_token.py"], 5),
        _report(folder),
    ]


@dataclass(frozen=True)
class _Bench:
    """Makes steps that are runs of `pytest bench`."""

    device: str
    preset: str
    folder: Path

    def step(
        self,
        name: str,
        title: str,
        files: Sequence[str],
        weight: float,
        options: Sequence[str] = (),
        select: str = RANDOM,
    ) -> Step:
        """A run of some files of benchmarks."""
        result, journal = self.folder / f"{name}.json", self.folder / f"{name}.journal"
        known = {path.name for path in _benchmarks("bench_*.py")}
        absent = [file for file in files if file not in known]
        command = [
            *(sys.executable, "-m", "pytest", *(f"bench/benchmarks/{file}" for file in files)),
            *("--device", self.device, "--preset", self.preset, "-q", "-p", "no:cacheprovider", *options),
            *("--benchmark-json", str(result), "--journal", str(journal), "--resume"),
            *(("-k", select) if select else ()),
        ]
        obstacle = f"this checkout has no {absent[0]}" if absent else None
        return Step(name, title, tuple(command), weight, makes=result, journal=journal, obstacle=obstacle)


def _benchmarks(pattern: str) -> list[Path]:
    return sorted((ROOT / "bench" / "benchmarks").glob(pattern))


def _tests(device: str) -> Step:
    """Those marked `gpu`, from the files that have any: to collect all tests takes longer than to run these."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    files = [str(path.relative_to(ROOT)) for path in marked]
    lacking = missing(TO_TEST)
    obstacle = f"{', '.join(lacking)} is not installed" if lacking else None
    command = (sys.executable, "-m", "pytest", *files, "-m", "gpu", "-q", "-p", "no:cacheprovider")
    return Step(
        "tests",
        "tests marked gpu",
        command,
        weight=2,
        obstacle=obstacle if device == "cuda" else "they need a CUDA device",
    )


def _shapes(bench: _Bench) -> Iterator[Step]:
    """Shapes that ship, in the precisions that they are run in."""
    shapes = [word for shape in SHAPES for word in ("--shape", shape)]
    for dtype in DTYPES:
        options = (*shapes, "--dtype", dtype)
        yield bench.step(f"shapes-{dtype}", f"shapes that ship, {dtype}", ["bench_router.py"], 2, options)


def _selection(device: str) -> Step:
    """The selection's paths: the kernel on a card, torch's own elsewhere."""
    command = (sys.executable, "-m", "bench.router.selection", "--device", device)
    return Step("selection", "selection rules alone, every path", command, weight=1)


def _peers(device: str, preset: str, folder: Path) -> Step:
    """The same work by others' code, at the works' own sizes."""
    step = _Bench(device, "peers", folder).step(
        "peers", "the same work by others' code", ["bench_peers.py"], 3, SMALL_WORKS.get(preset, ()), select=""
    )
    lacking = missing(TO_COMPARE)
    return replace(step, obstacle=f"{', '.join(lacking)} not installed") if lacking else step


def _report(folder: Path) -> Step:
    lacking = missing(TO_REPORT)
    page = folder / "report"
    # A shell's list of files: which there are is known when the step begins.
    program = (
        "import pathlib, subprocess, sys; folder, page = sys.argv[1:]; "
        "files = sorted(map(str, pathlib.Path(folder).glob('*.json'))); "
        "sys.exit(subprocess.call([sys.executable, '-m', 'reports', *files, '-o', page]))"
    )
    return Step(
        "report",
        "the report of all that was measured",
        (sys.executable, "-c", program, str(folder), str(page)),
        weight=1,
        least_s=5,
        makes=page / "index.html",
        again=True,
        obstacle=f"{', '.join(lacking)} not installed; the JSON files can be reported elsewhere" if lacking else None,
    )
