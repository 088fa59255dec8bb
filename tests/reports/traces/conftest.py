"""Selections, and every format that a trace can be written in by hand."""

from __future__ import annotations

import numpy as np
import pytest

TOKENS, LAYERS, TOP_K, EXPERTS = 40, 3, 2, 8


def make_selections(tokens=TOKENS, layers=LAYERS, top_k=TOP_K, experts=EXPERTS, seed=0):
    """(T, L, K), some experts likelier than others."""
    scores = np.random.default_rng(seed).gumbel(size=(tokens, layers, experts)) + np.linspace(0, 2, experts)
    return np.argsort(-scores, axis=-1)[..., :top_k]


@pytest.fixture
def selections():
    return make_selections()
