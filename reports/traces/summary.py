"""All that was measured of a trace, as JSON. Axes: L layers, E experts, K experts per token, W windows, G domains."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from reports.traces.analysis import Analysis

SCHEMA = 1


def summary(analysis: Analysis) -> dict[str, Any]:
    """Every figure by its name; the axes are those of `Analysis`, a value a layer unless it says otherwise."""
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "sources": analysis.sources,
        "layers": analysis.layer_names,
        "num_tokens": analysis.num_tokens,
        "tokens_left_out": analysis.left_out,
        "num_experts": analysis.num_experts,
        "num_experts_known": analysis.num_experts_known,
        "top_k": analysis.top_k,
        "tokens_per_expert": analysis.load,
        "metrics": analysis.measures | analysis.probabilities,
        "cv_by_chance": analysis.cv_by_chance,
        "experts_per_token": None
        if analysis.experts_per_token is None
        else {"mean": analysis.experts_per_token[0], "sd": analysis.experts_per_token[1]},
        "rank_imbalance": {str(ranks): each for ranks, each in analysis.rank_imbalance.items()},
        "weight_by_rank": analysis.weight_by_rank,
        "importance": analysis.importance,
        "pair_tokens": analysis.pair_tokens,
    }
    for name in ("domains", "drift", "agreement"):
        part = getattr(analysis, name)
        found[name] = None if part is None else dict(vars(part))
    written: dict[str, Any] = _plain(found)
    return written


def to_json(analysis: Analysis) -> str:
    """The summary as text; what is no number is null."""
    return json.dumps(summary(analysis), allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
