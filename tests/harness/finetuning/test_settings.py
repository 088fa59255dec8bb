"""Settings refuse what cannot be trained with; specs come in an order that can be stopped."""

from __future__ import annotations

import pytest

from harness.finetuning.settings import FROZEN, TRAINED, FinetuneError, FinetuneSettings, RunSpec, make_run_specs
from harness.replacement.moe_blocks import STOCK


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("max_length", 1),
        ("learning_rate", 0.0),
        ("router_learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("load_balancing_coefficient", float("inf")),
        ("device", "gpu"),
        ("lora_dropout", 1.0),
        ("load_balancing_coefficient", -0.1),
        ("train_lines", -5),
    ],
)
def test_a_wrong_value_is_named(name: str, value: float) -> None:
    with pytest.raises(FinetuneError, match=f"^{name} is {value}, expected"):
        FinetuneSettings(**{name: value})


def test_all_routers_come_with_the_first_seed_before_any_with_the_second() -> None:
    specs = make_run_specs([STOCK, "mlp"], ["random"], range(2), (TRAINED, FROZEN))
    assert [spec.seed for spec in specs] == [0] * 4 + [1] * 4
    assert specs[0] == RunSpec(STOCK, "original", 0, TRAINED)
    assert specs[1] == RunSpec("mlp", "random", 0, TRAINED)
    assert specs[2].router_training == FROZEN


def test_the_models_own_gates_begin_in_one_way_only() -> None:
    specs = make_run_specs([STOCK, "mlp"], ["random", "distilled"], [0], (TRAINED,))
    assert [(spec.router, spec.initialise) for spec in specs] == [
        (STOCK, "original"),
        ("mlp", "random"),
        ("mlp", "distilled"),
    ]


def test_names_are_those_of_folders() -> None:
    specs = make_run_specs(["a", "b"], ["random", "distilled"], range(3), (TRAINED, FROZEN))
    assert len({spec.name for spec in specs}) == len(specs) == 24
