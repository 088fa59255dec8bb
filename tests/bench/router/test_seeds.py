from __future__ import annotations

import torch

from bench.presets import get_preset
from bench.router.inputs import Inputs
from bench.router.seeds import derive_seed
from routers import create_router


def test_streams_of_one_seed_differ() -> None:
    assert derive_seed("router", 0) != derive_seed("input", 0) != derive_seed("input", 1)


def test_a_router_and_its_input_are_independent() -> None:
    # Drawn from one seed, a linear router's rows were the first tokens times 0.02, and entropy was 0.007 too low.
    hidden_states = Inputs(get_preset("quick"), "cpu").batch("random", 3).hidden_states
    torch.manual_seed(derive_seed("router", 3))
    router = create_router("linear", hidden_size=768, num_experts=8, top_k=2)
    weights = next(router.parameters()).detach()
    correlation = torch.corrcoef(torch.stack([weights.flatten(), hidden_states[:8].flatten()]))[0, 1]
    assert abs(float(correlation)) < 5 / weights.numel() ** 0.5
