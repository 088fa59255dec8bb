from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from bench.case import Case
from bench.presets import Preset, get_preset
from bench.router import memory_need
from bench.router.checked import draw_router
from bench.router.inputs import Inputs, inputs_of
from bench.router.memory_need import DoesNotFitError, needed_bytes, refuse_what_does_not_fit
from bench.sizes import Sizes, asked_sizes

SMOKE = get_preset("smoke")


def at(**values: str) -> Preset:
    return replace(SMOKE, sizes=asked_sizes([], **values))


def test_options_multiply_and_labels_say_what_differs() -> None:
    labels = [sizes.label for sizes in asked_sizes(["qwen3-next"], tokens="1,16", dtype="bfloat16,mixed")]
    assert labels == [
        "qwen3-next-T1-bfloat16",
        "qwen3-next-T1-mixed",
        "qwen3-next-T16-bfloat16",
        "qwen3-next-T16-mixed",
    ]
    assert [sizes.label for sizes in asked_sizes(["mixtral"], num_experts="8,16")] == ["mixtral", "mixtral-E16"]
    assert [sizes.label for sizes in asked_sizes([], selection="deepseek_v3")] == ["deepseek_v3"]
    assert asked_sizes([]) == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tokens": "0"}, "--tokens is '0', expected whole numbers from 1"),
        ({"top_k": "1,two"}, "--top-k is 'two', expected whole numbers"),
        ({"hidden_size": "-1"}, "--hidden-size is '-1'"),
        ({"tokens": ""}, "--tokens is ''"),
        ({"dtype": "float8"}, "--dtype is 'float8'; there are: float32, bfloat16, mixed"),
        ({"selection": "best"}, "'best'.*softmax"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked_sizes([], **values)


def test_more_experts_a_token_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="E4-K8: top_k is 8, expected at most num_experts = 4"):
        at(num_experts="4", top_k="8").check_sizes()
    with pytest.raises(ValueError, match="num_groups is 8, expected a divisor"):
        at(num_experts="12", selection="deepseek_v3").check_sizes()


@pytest.mark.parametrize("tokens", [1, 7, 16, 96, 1000, 4096])
def test_tokens_are_whole_sequences(tokens: int) -> None:
    preset = replace(get_preset("quick"), sizes=(Sizes(tokens=tokens),)).at(f"T{tokens}")
    assert preset.batch_size * preset.sequence_length == tokens
    assert preset.sequence_length <= 128


def test_a_preset_with_sizes_is_read_as_it_was_written() -> None:
    preset = replace(SMOKE, sizes=asked_sizes(["deepseek-v3"], dtype="mixed"))
    assert Preset.from_dict(json.loads(json.dumps(asdict(preset)))) == preset


def test_an_encoder_keeps_its_width_and_its_windows() -> None:
    assert inputs_of(at(num_experts="16"), every=True) == ["random@E16", "contextual@E16"]
    assert inputs_of(at(hidden_size="32"), every=True) == ["random@D32"]
    assert inputs_of(at(tokens="4"), every=False) == ["random@T4"]
    assert inputs_of(at(intermediate_size="32"), every=False) == ["random@I32"]  # its experts are the encoder's
    assert "supplemental" in inputs_of(SMOKE, every=True)


@pytest.mark.parametrize(
    ("dtype", "of_input", "of_router"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("mixed", torch.bfloat16, torch.float32),
    ],
)
def test_inputs_and_routers_have_the_dtype_that_is_said(
    dtype: str, of_input: torch.dtype, of_router: torch.dtype
) -> None:
    inputs = Inputs(at(dtype=dtype, tokens="8"), "cpu")
    name = f"random@T8-{dtype}"
    assert inputs.batch(name, 0).hidden_states.dtype == of_input
    assert inputs.batch(name, 0).hidden_states.shape == (8, SMOKE.hidden_size)
    assert next(draw_router("mlp", inputs.at(name), SMOKE.hidden_size, 0).parameters()).dtype == of_router


def test_a_router_has_the_rule_unless_it_selects_by_itself() -> None:
    inputs = Inputs(at(selection="deepseek_v3", num_experts="16"), "cpu").at("random@E16-deepseek_v3")
    assert draw_router("mlp", inputs, 64, 0).selection.score_function == "sigmoid"
    assert draw_router("hash", inputs, 64, 0).selects_by_itself


def test_what_does_not_fit_is_refused_with_both_figures() -> None:
    preset = replace(SMOKE, sizes=asked_sizes(["kimi-k3"], tokens="1", dtype="bfloat16"))
    name = "random@kimi-k3-T1-bfloat16"
    refuse_what_does_not_fit(preset, [Case("router", "linear", name)], "cpu")
    with pytest.raises(DoesNotFitError, match=r"kimi-k3-T1-bfloat16 needs about .* GB with its experts"):
        refuse_what_does_not_fit(preset, [Case("token", "linear", name)], "cpu")


def test_sizes_that_fit_one_by_one_and_not_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = replace(SMOKE, sizes=asked_sizes([], tokens="64,256"))
    cases = [Case("router", "linear", f"random@T{tokens}") for tokens in (64, 256)]
    needs = [needed_bytes(preset.at(f"T{tokens}"), experts=False) for tokens in (64, 256)]
    monkeypatch.setitem(memory_need._AVAILABLE, "cpu", lambda: sum(needs))
    refuse_what_does_not_fit(preset, cases, "cpu")
    monkeypatch.setitem(memory_need._AVAILABLE, "cpu", lambda: sum(needs) - 1)
    with pytest.raises(DoesNotFitError, match=r"a run of 2 sizes needs about 0.0 GB, 0.0 of them T256, and 0.0 GB are"):
        refuse_what_does_not_fit(preset, cases, "cpu")


def test_a_bank_is_counted_once_in_each_process_and_dtype() -> None:
    preset = Preset("any", 1, 1, 1, 1, batch_size=1, sequence_length=1, hidden_size=10, intermediate_size=30)
    with_experts = needed_bytes(preset, experts=True) - needed_bytes(preset, experts=False)
    assert with_experts == 2 * (2 * 8 * 10 * 30 * (4 + 4)) + 2 * 1 * 2 * (10 + 30) * 4
