"""What the tests of peers share: works small enough for a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.presets import Preset, get_preset
from bench.sizes import Sizes

SMALL = Sizes(tokens=5, hidden_size=64, intermediate_size=96, dtype="float32")


@pytest.fixture
def preset() -> Preset:
    """The preset of peers with few rounds, at small sizes in two precisions."""
    sizes = (SMALL, replace(SMALL, dtype="bfloat16"))
    return replace(get_preset("peers"), repetitions=2, rounds=2, warmup=1, sizes=sizes)
