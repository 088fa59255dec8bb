"""python -m bench.router.selection: the selection alone, on logits that are there: every path beside the eager one.

Axes: T tokens, E experts, K experts per token.

One process measures all paths of a size in the same rounds, in balanced order, and the eager one twice. On a card each
call is captured, many times over, into a CUDA graph, so that neither the host nor a launch is in the time; L2 is warm.
Blocks of one process stand in the place of processes, so that intervals are too narrow: it says which path is faster by
far, and is no run of the suite.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.timing.interleave import Call, measure_block
from bench.timing.intervals import Interval, paired_ratio
from bench.timing.modes import ClockMode, available_devices
from routers import Router, create_router
from routers.selection import use_selection_path
from routers.selection.paths import choose_selection_path

BLOCKS, WARMUP, CALLS_OF_A_GRAPH = 5, 5, 20
EAGER, TWIN = "eager", "eager@again"
TOLERANCE = 1e-4

Selected = tuple[Tensor, Tensor]
"""Experts and weights, each (T, K)."""
Select = Callable[[], Selected]


class Anchor(NamedTuple):
    """The paper's size, or one of which others report times on a card: docs/reference/selection.md names them."""

    rule: str
    num_experts: int
    top_k: int


ANCHORS = (
    Anchor("softmax", 8, 2),
    Anchor("softmax", 128, 8),
    Anchor("softmax", 512, 10),
    Anchor("deepseek_v3", 256, 8),
)


def _by_path(path: str, router: Router, logits: Tensor) -> Select:
    def call() -> Selected:
        with use_selection_path(path):
            routing = router.select(logits=logits)
        return routing.selected_experts, routing.routing_weights

    return call


def _compiled(router: Router, logits: Tensor) -> Select:
    def select(logits: Tensor) -> Selected:
        routing = router.select(logits=logits)
        return routing.selected_experts, routing.routing_weights

    return partial(torch.compile(select, fullgraph=True), logits)


PATHS: dict[str, Callable[[Router, Tensor], Select]] = {
    EAGER: partial(_by_path, "eager"),
    TWIN: partial(_by_path, "eager"),
    "compiled": _compiled,
    "fused": partial(_by_path, "fused"),
    "native": partial(_by_path, "native"),
}
KERNELS = ("fused", "native")
"""Paths that are one kernel, of a card and of a CPU: each is there or not."""


def _suits(path: str, router: Router, logits: Tensor) -> bool:
    """The path is there; of one that is not the eager steps would be measured under its name."""
    if path not in KERNELS:
        return True
    with use_selection_path(path):
        return choose_selection_path(router.selection, logits, router.top_k) is not None


def _repeated(call: Select, device: str) -> tuple[Call, int]:
    """What is timed, and how many calls it is."""
    for _ in range(WARMUP):
        call()
    if device != "cuda":
        return call, 1
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS_OF_A_GRAPH):
            call()
    return graph.replay, CALLS_OF_A_GRAPH


def _check(path: str, call: Select, expected: Tensor, num_experts: int) -> None:
    selected, weights = call()
    found = torch.zeros(len(selected), num_experts, device=weights.device).scatter(1, selected, weights.float())
    agree = ((found - expected).abs() <= TOLERANCE).all(dim=1).float().mean()
    if agree < 0.999:  # two experts whose scores are rounded alike may stand in each other's place
        raise AssertionError(f"{path} gives {100 * (1 - float(agree)):.1f} % of the tokens other weights than eager")


def measure(anchor: Anchor, tokens: int, paths: Sequence[str], device: str, rounds: int) -> list[dict[str, Any]]:
    """A record of each path at a size, where it suits.

    Raises:
        AssertionError: a path is wrong.
    """
    router = create_router(
        "linear", hidden_size=8, num_experts=anchor.num_experts, top_k=anchor.top_k, selection=anchor.rule
    ).to(device)
    logits = torch.randn(tokens, anchor.num_experts, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        calls = {path: PATHS[path](router, logits) for path in PATHS if path in paths and _suits(path, router, logits)}
        selected, weights = calls[EAGER]()
        expected = torch.zeros_like(logits).scatter(1, selected, weights.float())
        for path, call in calls.items():
            _check(path, call, expected, anchor.num_experts)
        timed = {path: _repeated(call, device) for path, call in calls.items()}
        clock = ClockMode.parse(None, device=device).clock()
        blocks = [
            measure_block({path: call for path, (call, _) in timed.items()}, clock, rounds=rounds, seed=str(block))
            for block in range(BLOCKS)
        ]
    records = []
    for path, (_, count) in timed.items():
        ratio = Interval.of_ratios([paired_ratio(block[path], block[EAGER]) for block in blocks])
        us = median(duration for block in blocks for duration in block[path]) / count / 1e3
        records.append({**anchor._asdict(), "tokens": tokens, "path": path, "us": us, "ratio": ratio.as_dict()})
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code: 0, or 2 with a line of what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.router.selection", description="the selection alone: eager, compiled, and one kernel"
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu, with the native kernel (cuda)")
    parser.add_argument("--tokens", type=int, action="append", help="T; may be repeated (1 and 16384)")
    beside = ["compiled", *KERNELS]
    parser.add_argument("--path", action="append", choices=beside, help="beside eager; may be repeated (all)")
    parser.add_argument("--rounds", type=int, default=40, help=f"of each of {BLOCKS} blocks (40)")
    parser.add_argument("--json", action="store_true", help="records instead of the table")
    options = parser.parse_args(arguments)
    tokens = options.tokens or [1, 16384]
    if options.device not in available_devices():
        parser.error(f"--device {options.device}: expected one of: {', '.join(available_devices())}")
    if options.rounds < 1 or min(tokens) < 1:
        parser.error(f"--rounds {options.rounds} --tokens {min(tokens)}: expected at least 1")
    paths = (EAGER, TWIN, *(options.path or beside))
    on = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    records = []
    for anchor in ANCHORS:
        for number in tokens:
            records += measure(anchor, number, paths, options.device, options.rounds)
    if options.json:
        print(json.dumps({"device": on, "records": records}, indent=1))
        return 0
    print(f"{on}, torch {torch.__version__}; µs per call, ratio to eager with 95 % interval over {BLOCKS} blocks")
    for each in records:
        ratio = each["ratio"]
        size = f"{each['rule']} {each['num_experts']}/{each['top_k']} T={each['tokens']}"
        said = f"{ratio['estimate']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        print(f"{size:28} {each['path']:12} {each['us']:10.2f} {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
