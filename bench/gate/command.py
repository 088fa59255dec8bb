"""The command line: python -m bench.gate BASE [--head REF], or --self-test."""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from bench.gate.errors import GateError, one_line
from bench.gate.gate import judge
from bench.gate.revisions.git import Revision, changed_files, find_root, is_dirty, resolve
from bench.gate.revisions.workspace import FOLDER
from bench.gate.self_test import SELECT, self_test
from bench.gate.settings import GateSettings, Rules
from bench.presets import PRESETS, get_preset
from bench.record.journal import Journal, JournalError
from bench.record.output import WholeFile
from bench.router.inputs import INPUTS, PROSE
from bench.timing.modes import available_devices
from harness.command_line import most_threads, parse
from harness.progress import progress_bar
from routers.native import native_version

MISTAKE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
MOST_NAMED = 10
DOCUMENTATION = (":(glob)*.md", ":(glob)docs/**/*.md")
"""What the text `prose` is made of."""
GATE_BUDGET_S, TRIAL_BUDGET_S = 240.0, 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the gate or its self-test; returns the exit code."""
    parser = _parser()
    options = parse(parser, sys.argv[1:] if arguments is None else arguments)
    if options.base is None and not options.self_test:
        parser.error("BASE is missing: the revision to compare with")
    if options.device not in available_devices():
        found = ", ".join(available_devices())
        parser.error(f"unknown device {options.device!r}; on this machine there are: {found}")
    if options.self_test and options.device != "cpu":
        parser.error("--self-test makes calls slower on the host, and therefore measures the device cpu alone")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that worktrees and workers are cleared away
    try:
        root = find_root()
        with _alone(root):
            return _self_test(root, options) if options.self_test else _gate(root, options)
    except (GateError, JournalError) as error:
        print(f"gate: {one_line(str(error))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("gate: interrupted; --resume continues", file=sys.stderr)
        return INTERRUPTED


def _gate(root: Path, options: argparse.Namespace) -> int:
    base, head = resolve(root, options.base), resolve(root, options.head)
    settings = _settings(options, options.select, GATE_BUDGET_S)
    target = _target(options.json)
    other_inputs = _other_inputs(root, base, head)
    notices = _notices(root, base, head, other_inputs)
    for notice in notices:
        print(f"gate: {one_line(notice)}", file=sys.stderr)
    with _journal(root, options, settings, {"kind": "gate", "base": base.commit, "head": head.commit}) as journal:
        document = judge(root, base, head, settings, options.expect, notices, journal, progress_bar, other_inputs)
        _write(document, target)
        journal.finish()
    _show("gate", options.json, "--markdown", str(options.markdown))
    exit_code: int = document["outcome"]["exit_code"]
    return exit_code


def _other_inputs(root: Path, base: Revision, head: Revision) -> list[str]:
    """The inputs that are made of this project's documentation, where the two revisions have another."""
    if not changed_files(root, base, head, *DOCUMENTATION):
        return []
    return [name for name, kind in INPUTS.items() if kind.text == PROSE]


def _notices(root: Path, base: Revision, head: Revision, other_inputs: Sequence[str]) -> list[str]:
    """Sentences that a reader of the result has to know about the two revisions."""
    notices = []
    if is_dirty(root):
        notices.append(f"The working tree has uncommitted changes, which are not compared: head is {head}.")
    if base.commit == head.commit:
        notices.append("Base and head are the same commit.")
    benchmarks = [path for path in changed_files(root, base, head, "bench") if not path.endswith(".md")]
    if benchmarks:
        listed = benchmarks if len(benchmarks) <= MOST_NAMED else [*benchmarks[:MOST_NAMED], "and others"]
        notices.append(f"The benchmarks differ, too ({', '.join(listed)}): a ratio may be theirs.")
    requirements = changed_files(root, base, head, "pyproject.toml", "constraints.txt")
    if requirements:
        notices.append(f"{' and '.join(requirements)} changed: both revisions run on what is installed now.")
    if other_inputs:
        named = ", ".join(other_inputs)
        notices.append(f"The documentation differs, of which {named} is made: what routers do there is not compared.")
    return notices


def _self_test(root: Path, options: argparse.Namespace) -> int:
    revision = resolve(root, options.base or options.head)
    settings = _settings(options, SELECT if options.select is None else options.select, TRIAL_BUDGET_S)
    target = _target(options.json)
    configuration = {"kind": "self-test", "revision": revision.commit}
    with _journal(root, options, settings, configuration) as journal:
        document = self_test(root, revision, settings, options.trials, journal, progress_bar)
        _write(document, target)
        journal.finish()
    _show("operating", options.json, "-o", str(options.json.parent / "operating"))
    return 0


def _settings(options: argparse.Namespace, select: str | None, budget_s: float) -> GateSettings:
    return GateSettings(
        preset=get_preset(options.preset),
        select=select or None,
        rules=Rules(threshold=options.threshold / 100, margin=options.margin / 100),
        budget_s=options.budget or budget_s,
        limit_s=options.limit,
        threads=options.threads,
        routers=tuple(options.router),
        models=tuple(options.model),
        device=options.device,
    )


@contextmanager
def _journal(
    root: Path, options: argparse.Namespace, settings: GateSettings, subject: dict[str, Any]
) -> Iterator[Journal]:
    """The journal of a run; it stays for `--resume` unless the run is finished."""
    configuration = subject | settings.as_dict() | {"torch": torch.__version__, "native": native_version()}
    del configuration["budget_s"]  # more time may be given to a run that is continued
    with Journal(root / options.journal, configuration, resume=options.resume) as journal:
        if journal.notice:
            print(f"gate: {journal.notice}", file=sys.stderr)
        yield journal


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One gate at a time in a checkout: two would take each other's worktrees, and time."""
    path = root / FOLDER
    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / "lock", timeout=0):
            yield
    except Timeout:
        raise GateError(f"{root}: another gate is running in this checkout") from None
    except OSError as error:
        raise GateError(f"{error.filename or path}: {error.strerror}") from None


def _target(path: Path) -> WholeFile | Path:
    """The place of the JSON; that it can be written is made sure of before anything is measured."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return WholeFile(path) if WholeFile.suits(path) else path
    except OSError as error:
        raise GateError(f"{path}: cannot be written: {error.strerror}") from None


def _write(document: dict[str, Any], target: WholeFile | Path) -> None:
    """Write the JSON, whole or not at all."""
    try:
        with open(target, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, allow_nan=False)
        if isinstance(target, WholeFile):
            target.keep()
    except OSError as error:
        raise GateError(f"{target}: cannot be written: {error.strerror}; --resume does that once it can be") from None


def _show(command: str, path: Path, *options: str) -> None:
    """Print the report of the JSON. A program of its own makes it: bench imports nothing of reports."""
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "reports", command, str(path), *options], check=False)
    if done.returncode:
        print(f"gate: measured and kept in {path}, but not shown (see above)", file=sys.stderr)


def _bounded(name: str, convert: Callable[[str], Any], low: float, high: float, bounds: str) -> Callable[[str], Any]:
    """A number between two bounds, both excluded, for argparse; `name` is what it calls a text that is no number."""

    def parse(text: str) -> Any:
        value = convert(text)
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text} is not {bounds}")
        return value

    parse.__name__ = name
    return parse


_percent = _bounded("number", float, 0, 100, "between 0 and 100")
_seconds = _bounded("number", float, 0, 1e6, "between 0 and 1e+06")
_whole = _bounded("whole number", int, 0, math.inf, "at least 1")
_threads = _bounded("whole number", int, 0, most_threads() + 1, f"from 1 to {most_threads()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gate",
        description="Measure two revisions in turn and say what became slower, or otherwise different.",
        epilog="Exit codes: 0 no regression, 1 regression, 2 wrong usage or a revision that does not work, "
        "3 nothing to compare, 130 interrupted.",
    )
    add = parser.add_argument
    add("base", nargs="?", metavar="BASE", help="revision to compare with, such as main")
    add("--head", default="HEAD", metavar="REF", help="revision to judge (HEAD)")
    add("--preset", default="ci", choices=list(PRESETS), help="sizes and cycles (ci)")
    add(
        "--select",
        metavar="EXPR",
        help="benchmarks to compare, as pytest's -k takes it (all; of the self-test five, '' for all)",
    )
    add("--threshold", type=_percent, default=2.0, metavar="PERCENT", help="to be proved exceeded (2)")
    add("--margin", type=_percent, default=5.0, metavar="PERCENT", help="proved less apart is the same (5)")
    add("--expect", action="append", default=[], metavar="[ROUTER:]FIGURE", help="will change, time too; repeatable")
    add("--budget", type=_seconds, metavar="SECONDS", help="for measuring (240; for each trial of the self-test 60)")
    add("--limit", type=_seconds, default=180.0, metavar="SECONDS", help="for one answer of a worker (180)")
    add("--device", default="cpu", metavar="DEVICE", help="cpu, or cuda: device time by events (cpu)")
    add("--threads", type=_threads, default=1, help="torch's threads while something is timed (1)")
    add("--router", action="append", default=[], metavar="MODULE:CLASS", help="one more, in both revisions; repeatable")
    add("--model", action="append", default=[], help="pretrained encoder, as pytest bench takes it; repeatable")
    add("--json", type=Path, default=Path("build/gate.json"), metavar="FILE", help="of the result (%(default)s)")
    add("--markdown", type=Path, default=Path("build/gate.md"), metavar="FILE", help="for a comment (%(default)s)")
    add("--resume", action="store_true", help="continue a killed run from its journal")
    add("--journal", default=".benchmarks/gate.jsonl", help="where finished measurements are kept (%(default)s)")
    add("--self-test", action="store_true", help="compare BASE, or HEAD, with itself and with itself made slower")
    add(
        "--trials",
        type=_whole,
        default=40,
        help="of the self-test: comparisons of equal code, and a third as many of slowed code (40)",
    )
    return parser
