"""`python -m bench.peers`: ours and others' gates and layers, in fresh processes, as JSON and a table.

Axes: T tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch
import transformers

from bench.peers.catalogue import WORKS
from bench.peers.work import CLOSE, OURS, TWIN
from bench.record.machine import describe_machine
from bench.timing.intervals import Interval, paired_ratio
from bench.timing.modes import available_devices
from bench.timing.placement import ENVIRONMENT

BAD_INPUT = 2
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in CLOSE}


class PeersError(Exception):
    """What is wrong, in one line."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--work", default="all", help=f"comma separated: {', '.join(WORKS)}; all but layer-tiny")
    parser.add_argument("--tokens", default="1,64,512", help="T, comma separated")
    parser.add_argument("--dtype", default="float32,bfloat16", help=f"comma separated: {', '.join(DTYPES)}")
    parser.add_argument("--peers", default="", help="words that a peer's name has, comma separated; all unless given")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes, at least 2")
    parser.add_argument("--rounds", type=int, default=8, help="in a process")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures go; what is there is added to with --resume")
    parser.add_argument("--resume", action="store_true", help="go on with the file of --json")
    return parser.parse_args(arguments)


def choose(option: str, given: str, known: Sequence[str]) -> list[str]:
    """Names of a comma separated list; raises `PeersError` with those that there are."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise PeersError(f"{option} has {name!r}, expected of: {', '.join(known)}")
    if not names:
        raise PeersError(f"{option} is empty, expected of: {', '.join(known)}")
    return names


def whole_numbers(option: str, given: str) -> list[int]:
    """Numbers from 1 on of a comma separated list."""
    try:
        numbers = [int(part) for part in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise PeersError(f"{option} is {given!r}, expected whole numbers of at least 1, as 1,64,512")
    return numbers


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """A fresh process's answer."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers.worker", json.dumps(request)],
        env=os.environ | ENVIRONMENT | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise PeersError(f"a process of {request['work']} {request['dtype']} ended with {done.returncode}: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def entries(request: dict[str, Any], answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a work, dtype, number of tokens and mode: the ratio of ours to each peer, with its interval."""
    found = []
    for blocks in zip(*(answer["groups"] for answer in answers), strict=True):
        first, names = blocks[0], [name for name in blocks[0]["durations"] if name not in (OURS, TWIN)]
        times = {
            name: geometric_mean([median(b["durations"][name]) / 1e3 for b in blocks]) for name in first["durations"]
        }
        ratios = {
            name: Interval.of_ratios(
                [paired_ratio(b["durations"][OURS], b["durations"][name]) for b in blocks]
            ).as_dict()
            for name in (TWIN, *names)
        }
        found.append(
            {
                "work": request["work"],
                "sizes": answers[0]["sizes"],
                "dtype": request["dtype"],
                "tokens": first["tokens"],
                "mode": first["mode"],
                "us_per_call": times,
                "ours_over": ratios,
                "best_peer": min(names, key=times.__getitem__) if names else None,
                "resident_peak": first["memory"],
                "left_out": first["left_out"],
                "wrong": first["wrong"],
            }
        )
    return found


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """Rows for a terminal, and below them who was left out."""
    lines = [
        f"{'work':18} {'dtype':8} {'T':>5} {'mode':8} {'ours us':>10} {'over best':>9} {'interval':16} memory best peer"
    ]
    for one in found:
        best = one["best_peer"]
        if best is None:
            continue
        ratio, memory = one["ours_over"][best], one["resident_peak"]
        share = f"{memory[OURS] / memory[best]:.2f}" if memory.get(OURS) and memory.get(best) else "-"
        lines.append(
            f"{one['work']:18} {one['dtype']:8} {one['tokens']:5} {one['mode']:8} {one['us_per_call'][OURS]:10.0f} "
            f"{ratio['estimate']:9.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]".ljust(79)
            + f"{share:>6}  {best}"
        )
    reasons = {(name, why) for one in found for kind in ("left_out", "wrong") for name, why in one[kind].items()}
    return lines + [f"{name}: {why}" for name, why in sorted(reasons)]


def run(options: argparse.Namespace) -> int:
    """Measure, write and print; raises `PeersError`."""
    every = [name for name in WORKS if name != "layer-tiny"]
    works = every if options.work == "all" else choose("--work", options.work, list(WORKS))
    dtypes = choose("--dtype", options.dtype, list(DTYPES))
    tokens = whole_numbers("--tokens", options.tokens)
    if options.device not in available_devices():
        raise PeersError(f"--device is {options.device!r}, on this machine there are: {', '.join(available_devices())}")
    for name, least in (("processes", 2), ("rounds", 1), ("threads", 1)):
        if getattr(options, name) < least:
            raise PeersError(f"--{name} is {getattr(options, name)}, expected at least {least}")
    found: list[dict[str, Any]] = []
    if options.resume and options.json and options.json.exists():
        found = json.loads(options.json.read_text())["entries"]
    done = {(one["work"], one["dtype"]) for one in found}
    for work, dtype in [(work, dtype) for work in works for dtype in dtypes if (work, dtype) not in done]:
        request = {"work": work, "dtype": dtype, "tokens": tokens, "rounds": options.rounds}
        request |= {"warmup": 2, "threads": options.threads, "device": options.device}
        request["peers"] = [word for word in options.peers.split(",") if word]
        found += entries(request, [ask(request | {"index": index}) for index in range(options.processes)])
        if options.json:
            about = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": options.threads}
            about |= {"device": options.device}
            about |= {"processes": options.processes, "rounds": options.rounds, "machine": describe_machine()}
            options.json.write_text(json.dumps({"peers": about, "entries": found}, indent=1))
    print("\n".join(table(found)))
    return int(any(OURS in one["wrong"] for one in found))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 2 where something is wrong with what was asked for."""
    try:
        return run(parse(arguments))
    except (PeersError, OSError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return BAD_INPUT
