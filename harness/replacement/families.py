"""The families of Mixture-of-Experts language models whose routers can be replaced.

Another family is one more statement at the end of this file, and the sizes of a tiny model of it in
`tests/harness/tiny_models.py`, on which every test of the families then runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """The facts of a family that cannot be read off a block: how its gate makes weights of scores.

    Attributes:
        norm_topk_prob: whether the K weights are made to sum to one; None where an attribute of the gate says it.
        scaling: the attribute of the gate that all weights are multiplied by, or None.
    """

    norm_topk_prob: bool | None = None
    scaling: str | None = None


FAMILIES: dict[str, Family] = {}
"""`config.model_type` -> the family."""

FAMILIES["qwen2_moe"] = Family()
FAMILIES["qwen3_moe"] = Family()
FAMILIES["olmoe"] = Family()
FAMILIES["mixtral"] = Family(norm_topk_prob=True)
FAMILIES["gpt_oss"] = Family(norm_topk_prob=True)
FAMILIES["deepseek_v3"] = Family(scaling="routed_scaling_factor")
