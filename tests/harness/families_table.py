"""The table of all Mixture-of-Experts families in `docs/reference/families.md`, made of what their tiny models do.

    python -m tests.harness.families_table

writes it; a test compares it, row by row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from harness.replacement.families import REFUSED
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.replacement.rule_reading import FIELDS, said
from tests.harness.tiny_families import families_of_transformers, output_of, tiny_family

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "families.md"
HEAD = (
    "| family | its rule | read from the gate | answers its block with | `original` start |",
    "|---|---|---|---|---|",
)


def row(family: str, model: Any) -> str:
    """The line of a family."""
    if family in REFUSED:
        return f"| {family} | refused: {REFUSED[family]} | | | |"
    block = find_moe_blocks(model)[0]
    cells = (family, rule_of(block), read_from(block), block.family.form.answer, original_start(model, block))
    return f"| {' | '.join(cells)} |"


def rule_of(block: MoEBlock) -> str:
    """The rule's name, and what is otherwise in the family."""
    others = ", ".join(f"{name}={value!r}" for name, value in block.family.fields.items())
    return f"`{block.family.rule}`" + (f" with {others}" if others else "")


def read_from(block: MoEBlock) -> str:
    """The fields of the rule, and the tensors, that its gate or block says."""
    places = {"gate": block.gate, "block": block.module}
    found = [name for name, paths in FIELDS.items() if any(True for _ in said(paths, places))]
    found += [path.rpartition(".")[2] for path in block.family.choices]
    found += ["bias"] if block.rule.has_bias else []
    found += ["factor per expert"] if block.rule.expert_scale else []
    return ", ".join(found)


def original_start(model: Any, block: MoEBlock) -> str:
    """Whether a linear router with the gate's own weights is the gate."""
    if not block.family.form.original_is_linear:
        return "none: its gate is no linear map"
    bias = {"bias": True} if block.family.form.linear_map(block.gate)[1] is not None else {}
    with torch.no_grad():
        expected = output_of(model)
        with replace_routers(model, "linear", initialise="original", **bias):
            exact = bool((output_of(model) - expected).abs().max() <= 1e-5)
    return f"{'the same output' if exact else 'ANOTHER OUTPUT'}{' (bias=True)' if bias else ''}"


def main() -> None:
    """Write the table between the page's marks."""
    transformers.logging.set_verbosity_error()
    rows = [row(family, tiny_family(family)) for family in families_of_transformers()]
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _, end, after = rest.partition("<!-- end of the table -->\n")
    PAGE.write_text(before + begin + "\n".join((*HEAD, *rows)) + "\n" + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
