"""Documents for pages: of the quick preset's size, of one router, of forty, and of names that mean harm."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from tests.reports.comparisons.conftest import mixed_gate
from tests.reports.conftest import ROUTERS, make_document, make_fine_tuning, make_language_document, set_ratio

Document = dict[str, Any]

HOSTILE = (
    "<img src=x id=planted onerror=alert(1)>",
    "</td></table><script id=planted>alert(2)</script>",
    "\u202eright-to-left\u2067 marks",
    "\x1b[31mred\x1b[0m",
    "=cmd|' /C calc'!A0",
    "'\"><b id=planted>quotes",
    "n" * 200,
)
"""Markup, marks that turn text round, a terminal's escapes, a formula, quotes, and a name as long as a paragraph."""

_KEPT = {("router", "random"), ("router", "contextual"), ("training", "contextual")}
"""Scenarios and inputs of the smaller documents."""

_DRAWN = 4
"""Routers of a smaller document with the probabilities of single tokens, whose panels take a second each to draw."""


def whole() -> list[Document]:
    """All that `pytest bench` measures by default, and a fine-tuning."""
    return [make_document(), make_language_document(), make_fine_tuning()]


def one_router() -> list[Document]:
    """The baseline alone, which nothing is compared with."""
    return [_few(make_document(("linear",)))]


def forty_routers() -> list[Document]:
    """The paper's and 31 of somebody's own, inside a language model as well."""
    routers = [*ROUTERS, *(f"own_router_{number:02}" for number in range(len(ROUTERS), 40))]
    return [_few(make_document(routers)), make_language_document(routers, ("decode",))]


def hostile() -> list[Document]:
    """Names of routers, texts, machines and models that would be markup if a page believed them."""
    bench, inside = (
        _few(make_document(("linear", *HOSTILE))),
        make_language_document(("linear", *HOSTILE), ("decode",)),
    )
    for document in (bench, inside):
        document["study"]["model"]["note"] = HOSTILE[0]
        document["machine_info"]["cpu"]["brand_raw"] = HOSTILE[2] + HOSTILE[-1]
    tuning = make_fine_tuning(("linear", *HOSTILE), starts=("random",), seeds=(0, 1))
    tuning["text"]["source"] = HOSTILE[1]
    return [bench, inside, tuning]


def two_runs() -> list[Document]:
    """A run, and one of another day in which a router is slower, another faster and a third uncertain."""
    base = _few(make_document())
    head = copy.deepcopy(base) | {"datetime": "2026-01-03T03:04:05", "commit_info": {"id": "1" * 40}}
    changes = {"mlp": (5.9, 5.8, 6.0), "hybrid": (3.2, 3.1, 3.3), "attention": (2.9, 2.0, 4.0)}
    for info in (benchmark["extra_info"] for benchmark in head["benchmarks"]):
        if info["router"] in changes:
            set_ratio(info, *changes[info["router"]])
    return [base, head]


def gate() -> list[Document]:
    """What the gate says, with every verdict."""
    return [mixed_gate()]


def stored_runs() -> list[Document]:
    """Twelve runs of as many commits; from the eighth a router takes twice as long."""
    return [_stored_run(day, slower=2.0 if day >= 8 else 1.0) for day in range(1, 13)]


def _stored_run(day: int, slower: float) -> Document:
    run = _few(make_document(("linear", "mlp", HOSTILE[0])))
    run["datetime"] = f"2026-01-{day:02}T12:00:00"
    run["commit_info"] = {"id": f"{day:040x}", "time": f"2026-01-{day:02}T10:00:00+00:00"}
    for info in (benchmark["extra_info"] for benchmark in run["benchmarks"]):
        info.pop("figures", None)
        if info["router"] == "mlp":
            ratio = 4.7 * slower * (1 + 0.001 * (day % 3))
            set_ratio(info, ratio, 0.99 * ratio, 1.01 * ratio)
    return run


def selected_experts(seed: int) -> np.ndarray:
    """A trace of 400 tokens through 4 layers, 2 of 8 experts each, some likelier than others: (T, L, K)."""
    scores = np.random.default_rng(seed).gumbel(size=(400, 4, 8)) + np.linspace(0, 2, 8)
    return np.argsort(-scores, axis=-1)[..., :2]


def _few(document: Document) -> Document:
    """The document with `_KEPT` alone, and with one figure of each sort."""
    kept = [b for b in document["benchmarks"] if (b["extra_info"]["scenario"], b["extra_info"]["input"]) in _KEPT]
    drawn = list(document["study"]["routers"])[:_DRAWN]
    for info in (benchmark["extra_info"] for benchmark in kept):
        if info["input"] != "contextual" or info["router"] not in drawn:
            info.pop("figures", None)
    return document | {"benchmarks": kept}
