"""A run trains what it should, and a run that was interrupted goes on as though it had not been."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback, set_seed

from harness.assets.resolve import ModelAsset
from harness.finetuning import trainer as trainer_module
from harness.finetuning.checkpoints import seal
from harness.finetuning.data import FinetuneData
from harness.finetuning.run import add_lora, lora_targets, run
from harness.finetuning.settings import (
    FROZEN,
    TRAINED,
    UNTRAINED,
    DivergedError,
    FinetuneError,
    FinetuneSettings,
    RunSpec,
)
from harness.finetuning.trainer import RouterTrainer
from harness.language_models.load import load_language_model
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from harness.saving.adapters import load_adapter
from harness.saving.routers import load_routers
from harness.text.passages import Passages
from harness.text.perplexity import perplexity
from routers import create_router, list_routers
from routers.routing import TokenChoice
from tests.harness.finetuning.conftest import small_settings
from tests.harness.tiny_models import tiny_model


def token_choice(name: str) -> bool:
    router = create_router(name, hidden_size=16, num_experts=4, top_k=2)
    return isinstance(router(torch.randn(3, 16)), TokenChoice)


class Interrupt(TrainerCallback):
    def __init__(self, step: int, event: str) -> None:
        self.step = step
        setattr(self, event, self._raise)

    def _raise(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(asset: ModelAsset, passages: Passages, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nobody interrupted."""
    data = FinetuneData(asset, passages, small_settings())
    return without_time(run(RunSpec("mlp", "random", 3, TRAINED), data, tmp_path_factory.mktemp("whole")))


def without_time(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "seconds"}


@pytest.mark.parametrize("name", [STOCK, *filter(token_choice, list_routers())])
def test_every_router_is_fine_tuned(name: str, data: FinetuneData, tmp_path: Path) -> None:
    short = dataclasses.replace(data, settings=dataclasses.replace(data.settings, steps=3))
    start = "original" if name == STOCK else "random"
    entry = run(RunSpec(name, start, 0, TRAINED), short, tmp_path)
    assert [loss["step"] for loss in entry["losses"]] == [2, 3]
    assert 0 < entry["losses"][0]["loss"] < 10
    assert entry["losses"][0]["load_balancing_loss"] > 0
    assert entry["lora_targets"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert entry["perplexity"]["after"] != entry["perplexity"]["before"]
    assert 0 <= entry["agreement"]["before"] <= 1
    assert (entry["agreement"]["before"] == 1) == (name == STOCK or name == "hadamard_unconstrained")
    logs = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (logged,) = logs.Scalars("train/loss")
    assert (logged.step, logged.value) == (2, pytest.approx(entry["losses"][0]["loss"], rel=1e-5))
    assert {"train/load_balancing_loss", "train/max_violation", "train/load_cv"} <= set(logs.Tags()["scalars"])


def test_frozen_routers_stay_as_they_are_and_lora_does_not(data: FinetuneData, tmp_path: Path) -> None:
    entries = {
        training: run(RunSpec("linear", "random", 0, training), data, tmp_path / training)
        for training in (TRAINED, FROZEN)
    }
    set_seed(0)
    drawn = replace_routers(load_language_model(data.asset).model, "linear").routers
    for training in entries:
        saved = load_routers(load_language_model(data.asset).model, tmp_path / training / "adapter").routers
        same = [torch.equal(drawn[name].weight, router.weight) for name, router in saved.items()]
        assert all(same) if training == FROZEN else not any(same)
    trained, frozen = entries[TRAINED], entries[FROZEN]
    assert trained["trained_parameters"] - frozen["trained_parameters"] == trained["router_parameters"]
    assert trained["perplexity"]["before"] == frozen["perplexity"]["before"]
    assert trained["perplexity"]["after"] != frozen["perplexity"]["after"]


def test_what_is_saved_is_what_was_trained(data: FinetuneData, tmp_path: Path) -> None:
    entry = run(RunSpec("attention", "random", 0, TRAINED), data, tmp_path)
    language_model = load_language_model(data.asset)
    load_routers(language_model.model, tmp_path / "adapter")
    adapted = load_adapter(language_model.model, tmp_path / "adapter")
    # Exactly: the same weights in the same modules, on the same batches.
    assert perplexity(adapted, data.held_out(language_model)) == entry["perplexity"]["after"]


def test_untrained_is_evaluated_alone(data: FinetuneData, tmp_path: Path) -> None:
    entry = run(RunSpec("linear", "original", 0, UNTRAINED), data, tmp_path)
    assert entry["losses"] == entry["lora_targets"] == []
    assert entry["perplexity"]["after"] is None
    assert entry["agreement"] == {"before": 1.0, "after": None}
    assert not list(tmp_path.iterdir())


def test_a_distilled_start_is_closer_to_the_original(data: FinetuneData, tmp_path: Path) -> None:
    starts = {
        start: run(RunSpec("linear", start, 0, UNTRAINED), data, tmp_path)["agreement"]["before"]
        for start in ("random", "distilled")
    }
    assert starts["distilled"] > max(0.8, starts["random"])


@pytest.mark.parametrize(
    ("event", "step"),
    # Before the first checkpoint, after it, at the end of an epoch and of the run; and while two of them are written.
    [("on_step_end", step) for step in (1, 3, 5, 7)] + [("on_save", step) for step in (2, 6)],
)
def test_interrupted_anywhere_it_ends_with_the_same_curve(
    event: str,
    step: int,
    whole: dict[str, Any],
    data: FinetuneData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exactly, because the same operations follow in the same order: losses, statistics, held-out perplexity."""
    spec = RunSpec("mlp", "random", 3, TRAINED)
    with monkeypatch.context() as patch:
        begin = RouterTrainer.__init__

        def interrupted(self: RouterTrainer, **arguments: Any) -> None:
            begin(self, **arguments)
            self.add_callback(Interrupt(step, event))

        patch.setattr(trainer_module.RouterTrainer, "__init__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(spec, data, tmp_path)
    assert without_time(run(spec, data, tmp_path)) == whole


def test_a_corrupt_checkpoint_is_refused_in_one_line(
    data: FinetuneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec("linear", "random", 0, TRAINED)
    run(spec, data, tmp_path)
    for path in tmp_path.glob("checkpoint-*/optimizer.pt"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FinetuneError, match=r"optimizer\.pt: corrupt.*remove") as error:
        run(spec, data, tmp_path)
    assert "\n" not in str(error.value)


STEPS_JSON = {"loss": 1.0, "load_balancing_loss": 1.0, "max_violation": 0.0, "load_cv": 0.0}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("optimizer.pt", b"nonsense"),
        ("scheduler.pt", b""),
        ("rng_state.pth", b"nonsense"),
        ("trainer_state.json", b"[]"),
        ("trainer_state.json", b'{"global_step": "x"}'),
        ("trainer_state.json", b'{"global_step": 4, "log_history": 3, "no_such_field": 1}'),
        ("trainer_state.json", b"[" * 100_000),
        ("steps.json", b"[" * 100_000),
        ("steps.json", b'{"seconds": 1, "steps": []}'),
        ("steps.json", json.dumps({"seconds": 1, "steps": [STEPS_JSON | {"loss": "x"}] * 4}).encode()),
        ("steps.json", json.dumps({"seconds": 1, "steps": [STEPS_JSON | {"more": 1}] * 4}).encode()),
        ("steps.json", b'{"seconds": NaN, "steps": 3}'),
        ("steps.json", json.dumps({"seconds": float("nan"), "steps": [STEPS_JSON] * 4}).encode()),
        ("trained.safetensors", b"nonsense"),
        ("trained.safetensors", "half"),
        ("trained.safetensors", "nan"),
    ],
)
def test_a_bad_checkpoint_with_a_right_seal_is_one_line(
    file: str, content: bytes | str, data: FinetuneData, sealed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sealed, tmp_path / "run"))
    checkpoint = folder / "checkpoint-4"
    if isinstance(content, str):
        weights = load_file(checkpoint / file)
        changed = {name: w.half() if content == "half" else w * torch.nan for name, w in weights.items()}
        save_file(changed, checkpoint / file)
    else:
        (checkpoint / file).write_bytes(content)
    spec = RunSpec("linear", "random", 0, TRAINED)
    seal(checkpoint, data.identity(spec))
    with pytest.raises(FinetuneError, match=r"checkpoint-4.*remove it to go on from the one before$") as error:
        run(spec, data, folder)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def sealed(asset: ModelAsset, passages: Passages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted after its fourth step."""
    folder = tmp_path_factory.mktemp("sealed")
    begin = RouterTrainer.__init__

    def interrupted(self: RouterTrainer, **arguments: Any) -> None:
        begin(self, **arguments)
        self.add_callback(Interrupt(4, "on_save"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module.RouterTrainer, "__init__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(RunSpec("linear", "random", 0, TRAINED), FinetuneData(asset, passages, small_settings()), folder)
    return folder


def test_lower_precision_is_for_training_alone(
    data: FinetuneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is learned, held-out perplexity is afterwards what it was before."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    idle = dataclasses.replace(data.settings, learning_rate=1e-30, router_learning_rate=1e-30)
    entry = run(RunSpec(STOCK, "original", 0, TRAINED), dataclasses.replace(data, settings=idle), tmp_path)
    # LoRA's 1e-30 is below the last digit of whatever it is added to; bf16 would move the third digit.
    assert entry["perplexity"]["after"] == pytest.approx(entry["perplexity"]["before"], rel=1e-12)
    assert entry["agreement"]["after"] == 1


def test_another_runs_checkpoint_is_refused_in_one_line(data: FinetuneData, tmp_path: Path) -> None:
    run(RunSpec("linear", "random", 0, TRAINED), data, tmp_path)
    for spec in (RunSpec("linear", "random", 1, TRAINED), RunSpec("mlp", "random", 0, TRAINED)):
        with pytest.raises(FinetuneError, match=r"another run's checkpoint \(different: .*plan\)"):
            run(spec, data, tmp_path)


def test_a_run_that_diverges_says_so(data: FinetuneData, tmp_path: Path) -> None:
    # AdamW's first step moves LoRA's weights by the learning rate itself. Queries and keys of 1e30 have a product that
    # no float32 holds, so that the attention is NaN on every processor, however it rounds.
    wild = dataclasses.replace(data, settings=dataclasses.replace(data.settings, learning_rate=1e30))
    with pytest.raises(DivergedError, match=r"the (loss is \S+ at step \d|held-out perplexity is \S+)$"):
        run(RunSpec("linear", "random", 0, TRAINED), wild, tmp_path)


def test_the_models_own_balancing_loss_is_not_counted(data: FinetuneData, tmp_path: Path) -> None:
    entry = run(RunSpec("linear", "random", 0, TRAINED), data, tmp_path / "plain")
    noisy = tmp_path / "noisy"
    shutil.copytree(data.asset.path, noisy)
    config = json.loads((noisy / "config.json").read_text())
    (noisy / "config.json").write_text(json.dumps(config | {"output_router_logits": True, "router_aux_loss_coef": 0.5}))
    other = dataclasses.replace(data, asset=dataclasses.replace(data.asset, path=noisy))
    assert run(RunSpec("linear", "random", 0, TRAINED), other, tmp_path / "other")["losses"] == entry["losses"]


def test_a_model_without_projections_is_refused(settings: FinetuneSettings) -> None:
    with pytest.raises(FinetuneError, match="Linear has none of q_proj, k_proj, v_proj, o_proj"):
        add_lora(torch.nn.Linear(2, 2), settings)


@pytest.mark.parametrize(
    ("family", "changes", "targets"),
    [
        ("qwen3_moe", {}, {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("deepseek_v3", {}, {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}),
        ("deepseek_v3", {"q_lora_rank": None}, {"q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}),
    ],
)
def test_lora_is_on_all_projections_of_the_attention(
    family: str, changes: dict[str, Any], targets: set[str], settings: FinetuneSettings
) -> None:
    model = tiny_model(family, **changes)
    assert set(lora_targets(model)) == targets
    projections = {name for name, module in model.named_modules() if ".self_attn." in name and hasattr(module, "bias")}
    adapted = add_lora(model, settings)
    found = {name for name, module in adapted.base_model.model.named_modules() if hasattr(module, "lora_A")}
    assert found == {name for name in projections if not name.endswith("norm")}


def test_more_text_than_there_is_is_refused(data: FinetuneData, tmp_path: Path) -> None:
    greedy = dataclasses.replace(data, settings=dataclasses.replace(data.settings, held_out_windows=10**7))
    with pytest.raises(FinetuneError, match=r"held_out_windows: count is 10000000, the text has \d+"):
        run(RunSpec(STOCK, "original", 0, TRAINED), greedy, tmp_path)


def test_the_models_own_gates_learn_too(data: FinetuneData, tmp_path: Path) -> None:
    entry = run(RunSpec(STOCK, "original", 0, TRAINED), data, tmp_path)
    assert entry["agreement"]["before"] == 1
    assert entry["agreement"]["after"] < 1
    blocks = find_moe_blocks(load_language_model(data.asset).model)
    assert entry["router_parameters"] == sum(block.hidden_size * block.num_experts for block in blocks)


def balanced(data: FinetuneData, name: str, **changes: Any) -> FinetuneData:
    return dataclasses.replace(data, settings=dataclasses.replace(data.settings, balance=name, **changes))


def test_what_no_gradient_changes_is_resumed_and_saved(
    data: FinetuneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The biases of a run that was interrupted are those of one that was not, to the last digit."""
    spec, short = RunSpec("linear", "random", 3, TRAINED), balanced(data, "quantile", steps=5)
    states: list[dict[str, Any]] = []
    end = RouterTrainer.end_step

    def note(self: RouterTrainer) -> None:
        end(self)
        states.append({key: value.clone() for key, value in self.balance.balancer.state().items()})

    monkeypatch.setattr(RouterTrainer, "end_step", note)
    expected = without_time(run(spec, short, tmp_path / "whole"))
    unbroken = states[-1]
    assert any(not torch.equal(unbroken[key], value) for key, value in states[0].items())
    with monkeypatch.context() as patch:
        begin = RouterTrainer.__init__

        def interrupted(self: RouterTrainer, **arguments: Any) -> None:
            begin(self, **arguments)
            self.add_callback(Interrupt(3, "on_step_end"))

        patch.setattr(RouterTrainer, "__init__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(spec, short, tmp_path / "broken")
    assert without_time(run(spec, short, tmp_path / "broken")) == expected
    assert all(torch.equal(states[-1][key], value) for key, value in unbroken.items())
    language_model = load_language_model(data.asset)
    load_routers(language_model.model, tmp_path / "broken" / "adapter")
    adapted = load_adapter(language_model.model, tmp_path / "broken" / "adapter")
    assert perplexity(adapted, data.held_out(language_model)) == expected["perplexity"]["after"]


def test_gates_that_cannot_be_balanced_so_are_refused_in_one_line(data: FinetuneData, tmp_path: Path) -> None:
    line = r"^stock, balance bias: router 'model\.layers\.0\.mlp' \(Qwen2MoeTopKRouter\) has no selection_bias [^\n]*$"
    with pytest.raises(FinetuneError, match=line):
        run(RunSpec(STOCK, "original", 0, TRAINED), balanced(data, "bias"), tmp_path)
    assert not list(tmp_path.iterdir())
