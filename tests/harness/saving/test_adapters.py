"""LoRA adapters of models with our routers: back with difference zero, and never on other routers than their own."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from harness.replacement.injection import replace_routers
from harness.saving import files as router_files
from harness.saving.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter, save_adapter
from harness.saving.files import CONFIG, WEIGHTS, SavedRoutersError
from harness.saving.routers import load_routers, save_routers
from tests.harness.tiny_models import IDS, logits_of, tiny_model

ORDER = r"load the routers first: load_routers\(model, '.*'\), then load_adapter\(model, DIR\)"
LORAS = {
    "lora_on_attention": {"target_modules": ["q_proj", "v_proj"]},
    "lora_on_the_query_projection": {"target_modules": ["q_proj", "query_proj"]},
    "whole_gates": {"target_modules": ["q_proj"], "modules_to_save": ["mlp.gate"]},
}


def trained(seed: int = 0, name: str = "default", **lora: Any) -> Any:
    """An adapter and routers after three steps of training."""
    model = tiny_model()
    replacement = replace_routers(model, "attention", query_size=8)
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, task_type="CAUSAL_LM", **lora), adapter_name=name)
    for router in replacement.routers.values():
        router.requires_grad_(True)
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        adapted(input_ids=IDS, labels=IDS).loss.backward()
        optimiser.step()
    return adapted.eval()


@pytest.fixture(params=LORAS)
def lora(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LORAS[request.param]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    save_adapter(trained(**LORAS["lora_on_the_query_projection"]), directory)
    return directory


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def refused(model: Any, directory: Path) -> str:
    """The one line, and the model as it was."""
    before, modules, asked = logits_of(model), list(model.modules()), [p.requires_grad for p in model.parameters()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    with pytest.raises(SavedRoutersError) as error:
        load_adapter(model, directory)
    assert [id(module) for module in model.modules()] == list(map(id, modules))
    assert [p.requires_grad for p in model.parameters()] == asked
    assert torch.equal(logits_of(model), before)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model.config.to_dict() == config
    assert "\n" not in str(error.value)
    assert str(directory) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["default", "mine"])
def test_it_comes_back_with_difference_zero(lora: dict[str, Any], name: str, tmp_path: Path) -> None:
    first, second = trained(name=name, **lora), tiny_model()
    save_adapter(nn.ModuleDict({"wrapped": first}), tmp_path)
    files = [ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, WEIGHTS[0]]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    load_routers(second, tmp_path)
    before = logits_of(second)
    adapted = load_adapter(second, tmp_path)
    assert isinstance(adapted, peft.PeftModel)
    assert torch.equal(logits_of(adapted), logits_of(first))
    assert not torch.equal(logits_of(adapted), before)
    assert not any(p.requires_grad for p in adapted.parameters())


def test_saved_twice_at_once_it_is_one_of_both(at_once: Callable[..., None], tmp_path: Path) -> None:
    both = [trained(seed, **LORAS["lora_on_attention"]) for seed in (1, 2)]
    at_once(*(partial(save_adapter, each, tmp_path) for each in both))
    model = tiny_model()
    load_routers(model, tmp_path)
    present = logits_of(load_adapter(model, tmp_path))
    assert [torch.equal(present, logits_of(each)) for each in both].count(True) == 1
    assert len(list(tmp_path.iterdir())) == 4


def test_it_can_be_trained_on(saved: Path) -> None:
    model = tiny_model().train()
    load_routers(model, saved)
    adapted = load_adapter(model, saved, trainable=True)
    assert adapted.training
    assert {name.split(".")[-3] for name, p in adapted.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}


def test_without_the_routers_the_order_is_stated(saved: Path) -> None:
    message = refused(tiny_model(), saved)
    assert "the model has its own routers still; load the routers first: load_routers(model, " in message


@pytest.mark.parametrize("key", ["lora_on_the_query_projection", "whole_gates"])
def test_it_is_stated_for_what_peft_saved_too(key: str, tmp_path: Path) -> None:
    # peft's own way ends in a KeyError
    trained(**LORAS[key]).save_pretrained(tmp_path, save_embedding_layers=False)
    message = refused(tiny_model(), tmp_path)
    assert "trained with routers in place of model.layers.0.mlp.gate, model.layers.1.mlp.gate; load the" in message


def test_what_peft_saved_is_taken_from_a_directory_of_its_own(tmp_path: Path) -> None:
    first, second = trained(**LORAS["whole_gates"]), tiny_model()
    first.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    save_routers(first, tmp_path / "routers")
    load_routers(second, tmp_path / "routers")
    assert torch.equal(logits_of(load_adapter(second, tmp_path / "adapter")), logits_of(first))


def test_routers_saved_over_an_adapters_own_leave_it_without_any(copy: Path) -> None:
    # nothing binds them to it any more: routers of another seed would give other logits without a word
    model = tiny_model()
    replace_routers(model, "attention", query_size=8)
    save_routers(model, copy)
    message = refused(model, copy)
    assert f"{ADAPTER_CONFIG}: {CONFIG} beside it does not name it" in message
    assert "save_adapter writes both" in message


def test_routers_with_a_tensor_among_their_options_take_their_adapter(tmp_path: Path) -> None:
    first, second, other = tiny_model(), tiny_model(), tiny_model()
    replace_routers(first, "prior", prior=torch.arange(4))
    adapted = peft.get_peft_model(first, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    save_adapter(adapted, tmp_path)
    load_routers(second, tmp_path)
    assert torch.equal(logits_of(load_adapter(second, tmp_path)), logits_of(adapted))
    replace_routers(other, "prior", prior=torch.arange(4).flip(0))
    assert "model.layers.0.mlp.gate.options.prior: other values" in refused(other, tmp_path)


def test_routers_of_another_seed_are_refused(saved: Path) -> None:
    # LoRA on the query projection alone would load without a word, and give other logits
    model = tiny_model()
    torch.manual_seed(9)
    replace_routers(model, "attention", query_size=8)
    message = refused(model, saved)
    assert "model.layers.0.mlp.gate.router.query_proj.weight: other values" in message
    assert "load the routers first" in message


def test_an_adapter_of_the_models_own_gates_does_not_fit_ours(tmp_path: Path) -> None:
    model = tiny_model()
    lora = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["mlp.gate"])
    peft.get_peft_model(model, lora).save_pretrained(tmp_path, save_embedding_layers=False)
    model = tiny_model()
    replace_routers(model, "linear")
    message = refused(model, tmp_path)
    assert "model.layers.0.mlp.gate.weight: unknown" in message
    assert "model.layers.0.mlp.gate.router.weight: missing" in message


def test_a_gate_that_an_adapter_has_wrapped_is_not_replaced() -> None:
    model = tiny_model()
    lora = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["mlp.gate"])
    adapted = peft.get_peft_model(model, lora)
    for routers_of in (model, adapted):
        with pytest.raises(ValueError, match=r"mlp.gate: an adapter stands around it \(ModulesToSaveWrapper\); rep"):
            replace_routers(routers_of, "linear")
    replace_routers(adapted.unload(), "linear")


def test_routers_go_into_a_model_with_lora_elsewhere() -> None:
    adapted = peft.get_peft_model(tiny_model(), peft.LoraConfig(target_modules=["q_proj"]))
    before = logits_of(adapted)
    with replace_routers(adapted, "linear") as replacement:
        assert list(replacement.routers) == ["model.layers.0.mlp", "model.layers.1.mlp"]
        assert not torch.equal(logits_of(adapted), before)
    assert torch.equal(logits_of(adapted), before)


def test_a_second_adapter_needs_the_first_unloaded(saved: Path) -> None:
    model = tiny_model()
    load_routers(model, saved)
    adapted = load_adapter(model, saved)
    assert "has an adapter already; unload that first" in refused(adapted, saved)


def test_a_refused_adapter_leaves_a_model_that_takes_the_right_one(saved: Path, copy: Path) -> None:
    model = tiny_model()
    load_routers(model, saved)
    edit_adapter(copy, lambda config: config.update(r=3))
    assert "model.layers.0.self_attn.q_proj has rank 3, its 2 rows are saved" in refused(model, copy)
    edit_adapter(copy, lambda config: config.update(r=1))
    assert "q_proj.lora_A.weight: shape (1, 32), saved as (2, 32)" in refused(model, copy)
    load_adapter(model, saved)


def edit_adapter(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    change(config)
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config))
    content, tensors = router_files.read_router_files(directory)
    content["companions"][ADAPTER_CONFIG] = hashlib.sha256((directory / ADAPTER_CONFIG).read_bytes()).hexdigest()
    router_files.write_router_files(directory, content, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(peft_type="IA3"), "peft_type is 'IA3', expected 'LORA'"),
        (lambda config: config.update(megatron_config={}), "names a module to import"),
        (lambda config: config.update(target_modules=["no_such"]), "does not fit the model: Target modules"),
        (lambda config: config.update(target_modules="("), "unterminated subpattern"),
        (lambda config: config.update(exclude_modules="("), "unterminated subpattern"),
        (lambda config: config.update(rank_pattern={"(": 2}), "unterminated subpattern"),
        (lambda config: config.update(rank_pattern={"q_proj": 10**12}), "q_proj has rank 1000000000000, its 2 rows"),
        (lambda config: config.update(task_type="FOO"), "'FOO'"),
        (lambda config: config.update(target_modules=".*q_proj", layers_to_transform=[0]), "`layers_to_transform` can"),
        (lambda config: config.update(r=10**12), "q_proj has rank 1000000000000, its 2 rows are saved"),
        (lambda config: config.update(r="2"), "q_proj has rank '2', its 2 rows are saved"),
        (lambda config: config.update(lora_alpha="x"), "does not fit the model: "),
        (lambda config: config.update(layer_replication=[[0, 9]]), "layer_replication is [[0, 9]], which changes"),
        (lambda config: config.update(layer_replication=[[0, 1], [0, 2]]), "expected None or []"),
        (lambda config: config.update(kasa_config={}), "kasa_config is {}, which changes the model's own layers"),
    ],
)
def test_adapters_that_are_not_understood_are_refused(copy: Path, change: Any, message: str) -> None:
    model = tiny_model()
    load_routers(model, copy)
    edit_adapter(copy, change)
    line = refused(model, copy)
    assert message in line
    assert str(copy / ADAPTER_CONFIG) in line


def edit_weights(directory: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = safetensors.torch.load_file(directory / ADAPTER_WEIGHTS)
    key = sorted(tensors)[0]
    safetensors.torch.save_file(tensors | {key: change(tensors[key])}, directory / ADAPTER_WEIGHTS)
    content, routers = router_files.read_router_files(directory)
    content["companions"][ADAPTER_WEIGHTS] = hashlib.sha256((directory / ADAPTER_WEIGHTS).read_bytes()).hexdigest()
    router_files.write_router_files(directory, content, routers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.fill_(torch.nan), "lora_A.weight: holds NaN or infinity"),
        (lambda weight: weight.fill_(torch.inf), "lora_A.weight: holds NaN or infinity"),
        (lambda weight: weight.long(), "lora_A.weight: torch.float32, saved as torch.int64"),
        (lambda weight: weight.double(), "lora_A.weight: torch.float32, saved as torch.float64"),
        (lambda weight: weight.to(torch.float8_e4m3fn), "lora_A.weight: torch.float32, saved as torch.float8_e4m3fn"),
        (lambda weight: weight > 0, "lora_A.weight: torch.float32, saved as torch.bool"),
    ],
)
def test_weights_that_are_no_numbers_or_of_another_dtype_are_refused(copy: Path, change: Any, message: str) -> None:
    model = tiny_model()
    load_routers(model, copy)
    edit_weights(copy, change)
    assert message in refused(model, copy)


def test_an_adapter_in_half_precision_is_taken(copy: Path) -> None:
    model = tiny_model()
    load_routers(model, copy)
    edit_weights(copy, torch.Tensor.bfloat16)
    assert load_adapter(model, copy).dtype == torch.float32


def test_an_adapter_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    adapted = trained(**LORAS["lora_on_attention"])
    next(weight for name, weight in adapted.named_parameters() if "lora_B" in name).data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"could not be loaded again: \S+lora_B.weight holds NaN or infinity$"):
        save_adapter(adapted, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("initialisation", ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "eva", "lora_ga"])
def test_what_begins_with_the_models_own_weights_is_refused(copy: Path, initialisation: str) -> None:
    # it would change them, and shapes that do not fit are found too late to change them back
    model = tiny_model()
    load_routers(model, copy)
    edit_adapter(copy, lambda config: config.update(init_lora_weights=initialisation, r=1))
    line = refused(model, copy)
    assert f"init_lora_weights is {initialisation!r}, which changes the model's own layers; expected True or" in line


def test_it_is_not_saved_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the adapter 'default' could not be loaded again: init_lora_weights is 'ol"):
        save_adapter(trained(target_modules=["q_proj"], init_lora_weights="olora"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_merged_adapter_is_refused_before_anything_is_written(copy: Path) -> None:
    adapted = trained(target_modules=["q_proj"])
    adapted.merge_adapter()
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(ValueError, match="an adapter is merged into a Linear: unmerge it first"):
        save_adapter(adapted, copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.parametrize("initialisation", [True, False, "gaussian"])
def test_other_beginnings_come_back(initialisation: Any, tmp_path: Path) -> None:
    first, second = trained(target_modules=["q_proj"], init_lora_weights=initialisation), tiny_model()
    save_adapter(first, tmp_path)
    load_routers(second, tmp_path)
    assert torch.equal(logits_of(load_adapter(second, tmp_path)), logits_of(first))


def test_ranks_of_single_layers_come_back(tmp_path: Path) -> None:
    # r itself is used by none of them
    first, second = trained(target_modules=["q_proj"], rank_pattern={"q_proj": 1}), tiny_model()
    save_adapter(first, tmp_path)
    load_routers(second, tmp_path)
    assert torch.equal(logits_of(load_adapter(second, tmp_path)), logits_of(first))


UNCHECKED = (
    "alora_invocation_tokens",
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "use_qalora",
    "use_rslora",
)
"""Fields with which PEFT makes the same layers for an adapter like this one, whatever they hold."""
STRANGE = (None, "(", "x", -1, 0, 1.5, 10**12, True, [], ["("], [-1], {}, {"(": "("})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(UNCHECKED), value=st.sampled_from(STRANGE))
def test_whatever_an_unchecked_field_holds_the_saved_weights_are_loaded(saved: Path, field: str, value: Any) -> None:
    model = tiny_model()
    load_routers(model, saved)
    with tempfile.TemporaryDirectory() as directory:
        edited = Path(shutil.copytree(saved, Path(directory) / "copy"))
        edit_adapter(edited, lambda config: config.update({field: value}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's, of what it ignores
            adapted = load_adapter(model, edited)
    loaded = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    expected = safetensors.torch.load_file(saved / ADAPTER_WEIGHTS)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


@pytest.mark.parametrize("value", ["(", 1.5, 10**12])
def test_whatever_a_checked_field_cannot_hold_is_refused(saved: Path, copy: Path, value: Any) -> None:
    config = json.loads((saved / ADAPTER_CONFIG).read_text())
    model = tiny_model()
    load_routers(model, saved)
    for field in sorted(config.keys() - set(UNCHECKED) - {"lora_alpha"}):  # any number will do for lora_alpha
        edit_adapter(copy, lambda edited, field=field: (edited.clear(), edited.update(config | {field: value})))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's, of what it ignores
            refused(model, copy)


@pytest.mark.parametrize("file", [ADAPTER_WEIGHTS, ADAPTER_CONFIG, CONFIG, WEIGHTS[0]])
@pytest.mark.parametrize("damage", ["truncated", "pickled", "foreign", "missing"])
def test_damaged_files_are_refused(saved: Path, copy: Path, file: str, damage: str) -> None:
    model = tiny_model()
    load_routers(model, saved)
    whole = (copy / file).read_bytes()
    (copy / file).unlink()
    if damage == "truncated":
        (copy / file).write_bytes(whole[: len(whole) // 2])
    elif damage == "pickled":
        torch.save({"a": torch.ones(1)}, copy / file)
    elif damage == "foreign":
        safetensors.torch.save_file({"a": torch.ones(1)}, copy / file)
    if file == CONFIG and damage == "missing":
        load_adapter(model, copy)  # as peft itself writes it
    else:
        refused(model, copy)


def test_files_of_two_savings_are_not_mixed(saved: Path, copy: Path, tmp_path: Path) -> None:
    # as a process leaves them that is killed between the adapter and the routers
    save_adapter(trained(seed=1, **LORAS["lora_on_the_query_projection"]), tmp_path / "other")
    shutil.copy(tmp_path / "other" / ADAPTER_WEIGHTS, copy)
    model = tiny_model()
    load_routers(model, copy)
    assert f"{ADAPTER_WEIGHTS}: was not written together with {CONFIG}" in refused(model, copy)


def test_what_has_no_adapter_or_no_routers_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="Qwen2MoeForCausalLM has no adapter to save"):
        save_adapter(model, tmp_path / "new")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="has none of our routers"):
        save_adapter(adapted, tmp_path / "new")
    assert not (tmp_path / "new").exists()
