"""What the precision of a selection rule does to decisions in bfloat16: the table of docs/explanation/precision.md.

    python -m bench.router.rule_precision

The Linear router at shapes of shipping models, on contextual embeddings. Axes: D hidden size, E experts, K experts a
token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from bench.presets import get_preset
from bench.router.inputs import Inputs
from bench.router.seeds import derive_seed
from harness.assets.errors import AssetError
from routers import Router, create_router
from routers.precision_metrics import decide, measure_change

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "precision.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"
BIAS_STD = 0.02
"""Of the bias of a ranking, which a router has at first as zeros and a trained one has not."""
RULE_PRECISIONS = ("model", "float32_scores", "float32")
"""From the coarsest to the finest: scores in bfloat16; logits in bfloat16; the product in float32."""


@dataclass(frozen=True)
class Shape:
    """A router's sizes and its rule."""

    label: str
    num_experts: int
    top_k: int
    rule: str
    fields: dict[str, Any] = field(default_factory=dict)

    def draw(self, hidden_size: int, precision: str, seed: int) -> Router:
        """A Linear router of a seed, whose rule has that precision."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("router", seed))
            router = create_router(
                "linear",
                hidden_size=hidden_size,
                num_experts=self.num_experts,
                top_k=self.top_k,
                selection=self.rule,
                precision=precision,
                **self.fields,
            )
            if router.selection_bias is not None:
                router.selection_bias.normal_(std=BIAS_STD)
        return router


SHAPES = (
    Shape("128 / 8, softmax", 128, 8, "qwen3_moe"),
    Shape("256 / 8, sigmoid, bias, 4 of 8 groups", 256, 8, "deepseek_v3"),
    Shape("512 / 10, softmax", 512, 10, "qwen3_next"),
)


def measure(shape: Shape, precision: str, batches: Sequence[Tensor]) -> dict[str, list[float]]:
    """What changes in bfloat16, one value a batch, each with a router of its own.

    Args:
        shape: of the router.
        precision: of its rule.
        batches: (T, D) each.

    Returns:
        changed_tokens and flip_rate against float64 of what there was, `arithmetic` the changed tokens against float64
        of the same rounded values.
    """
    found: dict[str, list[float]] = {"changed_tokens": [], "flip_rate": [], "arithmetic": []}
    for seed, hidden_states in enumerate(batches):
        decisions = decide(shape.draw(hidden_states.shape[1], precision, seed), hidden_states)
        whole, arithmetic = (measure_change(*decisions[name]) for name in ("bfloat16", "bfloat16_arithmetic"))
        for quantity in ("changed_tokens", "flip_rate"):
            found[quantity].append(whole[quantity])
        found["arithmetic"].append(arithmetic["changed_tokens"])
    return found


def table(batches: Sequence[Tensor], shapes: Sequence[Shape] = SHAPES) -> Iterator[str]:
    """The lines of the page's table."""
    yield "| E / K, rule | precision of the rule | tokens changed | by the arithmetic alone | flips |"
    yield "|---|---|---:|---:|---:|"
    for shape in shapes:
        for precision in RULE_PRECISIONS:
            found = measure(shape, precision, batches)
            shown = (_spread(found[name]) for name in ("changed_tokens", "arithmetic", "flip_rate"))
            yield f"| {shape.label} | `{precision}` | {' | '.join(shown)} |"


def _spread(shares: Sequence[float]) -> str:
    deviation = f" ± {100 * stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * fmean(shares):.2f}{deviation} %"


def main() -> int:
    """The command: makes the table anew and puts it into the page; 2 with a line where the encoder cannot be had."""
    preset = get_preset("quick")
    inputs = Inputs(preset, "cpu")
    try:
        batches = [inputs.batch("contextual", seed).hidden_states for seed in range(preset.seeds)]
        made = "\n".join(table(batches))
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    except (AssetError, OSError) as error:
        sys.stderr.write(f"bench.router.rule_precision: {error}\n")
        return 2
    sys.stdout.write(f"{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
