"""Documents for pages: of the quick preset's size, of one router, of forty, and of names that mean harm."""

from __future__ import annotations

from typing import Any

from tests.reports.conftest import ROUTERS, make_document, make_fine_tuning, make_language_document

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

_DRAWN = 10
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
    return [_few(make_document(routers)), make_language_document(routers, ("prefill", "decode"))]


def hostile() -> list[Document]:
    """Names of routers, texts, machines and models that would be markup if a page believed them."""
    bench, inside = (
        _few(make_document(("linear", *HOSTILE))),
        make_language_document(("linear", *HOSTILE), ("prefill",)),
    )
    for document in (bench, inside):
        document["study"]["model"]["note"] = HOSTILE[0]
        document["machine_info"]["cpu"]["brand_raw"] = HOSTILE[2] + HOSTILE[-1]
    tuning = make_fine_tuning(("linear", *HOSTILE), starts=("random",), seeds=(0, 1))
    tuning["text"]["source"] = HOSTILE[1]
    return [bench, inside, tuning]


def traces() -> list[Any]:
    """A routing trace of 48 layers, (tokens, layers, K), another of the same tokens, and domains that mean harm."""
    ours, theirs = (
        [
            [[(7 * t + 3 * layer + k + (t % 9 == other)) % 32 for k in range(4)] for layer in range(48)]
            for t in range(300)
        ]
        for other in (9, 3)
    )
    return [ours, theirs, [HOSTILE[t % len(HOSTILE)] for t in range(300)]]


def _few(document: Document) -> Document:
    """The document with `_KEPT` alone, and with one figure of each sort."""
    kept = [b for b in document["benchmarks"] if (b["extra_info"]["scenario"], b["extra_info"]["input"]) in _KEPT]
    drawn = list(document["study"]["routers"])[:_DRAWN]
    for info in (benchmark["extra_info"] for benchmark in kept):
        if info["input"] != "contextual" or info["router"] not in drawn:
            info.pop("figures", None)
    return document | {"benchmarks": kept}
