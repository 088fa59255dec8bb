"""Small good files of every kind, to be spoilt, and the command that reads each."""

import copy
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reports.comparisons.conftest import mixed_gate
from tests.reports.conftest import make_document, make_fine_tuning, make_language_document
from tests.reports.loading.test_self_test import make_self_test

ROUTERS = ("linear", "mlp")


def benchmarks(scenarios=("router", "training")) -> dict[str, Any]:
    """Two routers by themselves on one input and inside a language model."""
    document, inside = make_document(ROUTERS), make_language_document(ROUTERS, ("inject", "prefill", "decode"))
    wanted = [b for b in document["benchmarks"] if b["extra_info"]["scenario"] in scenarios]
    wanted = [b for b in wanted if b["extra_info"]["input"] == ("random" if "router" in scenarios else "contextual")]
    document["benchmarks"] = wanted + inside["benchmarks"]
    document["study"]["language_model"] = inside["study"]["language_model"]
    return document


def fine_tuning() -> dict[str, Any]:
    """The model's own gates and two routers from two seeds, and one that was not trained."""
    document = make_fine_tuning(ROUTERS, seeds=(0, 1))
    idle = copy.deepcopy(document["runs"][-1]) | {"router_training": "untrained", "losses": [], "trained_parameters": 0}
    idle["perplexity"]["after"] = idle["agreement"]["after"] = None
    document["runs"].append(idle)
    return document


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: a good one.
        command: (its path, a folder for output) -> the arguments of `python -m reports`.
    """

    make: Callable[[], dict[str, Any]]
    command: Callable[[Path, Path], list[str]]

    def fresh(self) -> Any:
        """A good document of its own for each caller to spoil."""
        return copy.deepcopy(_made(self.make))


@functools.cache
def _made(make: Callable[[], dict[str, Any]]) -> Any:
    return make()


def _older(folder: Path) -> str:
    """Another run to compare with: one and the same is refused."""
    path = folder / "older.json"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        path.write_text(json.dumps(benchmarks(("training",)) | {"datetime": "2025-01-02T03:04:05"}), encoding="utf-8")
    return str(path)


KINDS = {
    "bench": Kind(benchmarks, lambda path, folder: [str(path), "-o", str(folder)]),
    "storage": Kind(
        functools.partial(benchmarks, ("training",)), lambda path, folder: ["compare", _older(folder), str(path)]
    ),
    "finetune": Kind(fine_tuning, lambda path, folder: [str(path), "-o", str(folder)]),
    "gate": Kind(mixed_gate, lambda path, folder: ["gate", str(path), "--markdown", str(folder / "comment.md")]),
    "self-test": Kind(make_self_test, lambda path, folder: ["operating", str(path), "-o", str(folder)]),
}
