"""Routers saved and loaded: every output as before, and whatever does not fit refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.replacement.injection import replace_routers
from harness.replacement.router_config import RouterConfig
from harness.saving import files as router_files
from harness.saving.files import CONFIG, WEIGHTS, SavedRoutersError
from harness.saving.routers import load_routers, save_routers, saved_differences
from routers import LogitRouter, list_routers, temporary_router
from tests.harness.tiny_models import logits_of, tiny_model

GATE = "model.layers.0.mlp.gate"
QUERIES = f"{GATE}.router.query_proj.weight"


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert type(error.value) is SavedRoutersError
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Attention routers of the model that seed 0 makes."""
    directory = tmp_path_factory.mktemp("saved")
    save_routers(replace_routers(tiny_model(), "attention", query_size=8), directory)
    return directory


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.mark.parametrize("name", list_routers())
def test_every_router_comes_back_with_difference_zero(name: str, tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model()
    save_routers(replace_routers(first, name), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS[0]]
    replacement = load_routers(second, tmp_path)
    assert torch.equal(logits_of(first), logits_of(second))
    replacement.restore()
    assert torch.equal(logits_of(second), logits_of(tiny_model()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp_hadamard", {"width": 8, "boost": (0.92, 0.59)}),
        ("attention", {"query_size": 8, "temperature": 0.05, "top_k": 3}),
        ("hash", {"seed": 5}),
        ("prior", {"prior": torch.arange(4)}),
        ("linear", {"bias": True, "norm_topk_prob": True, "layers": [1]}),
    ],
)
def test_options_come_back(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model()
    before = replace_routers(first, name, **options)
    save_routers(first, tmp_path)
    after = load_routers(second, tmp_path)
    assert before.routers.keys() == after.routers.keys()
    assert torch.equal(logits_of(first), logits_of(second))
    ours, theirs = (each.replaced[0].gate.router_config for each in (after, before))
    assert ours.to_json() == theirs.to_json()
    assert ours.options.keys() == theirs.options.keys()
    assert ours.options.get("boost") == theirs.options.get("boost")


@pytest.mark.parametrize("name", ["mlp", "hadamard", "hash"])
def test_routers_in_half_precision_come_back_in_it(name: str, tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model().to(torch.bfloat16)
    replace_routers(first, name)
    first.to(torch.bfloat16)
    save_routers(first, tmp_path)
    load_routers(second, tmp_path)
    assert torch.equal(logits_of(first), logits_of(second))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_same_base_model_in_another_dtype_is_known_again(saved: Path, model: Any, dtype: torch.dtype) -> None:
    assert len(load_routers(model.to(dtype), saved).replaced) == 2


def test_routers_that_blocks_share_are_shared_again(model: Any, tmp_path: Path) -> None:
    model.model.layers[1].mlp.gate = model.model.layers[0].mlp.gate
    save_routers(replace_routers(model, "linear"), tmp_path)
    first, second = load_routers(tiny_model(), tmp_path).routers.values()
    assert first is second


def test_a_router_of_the_users_own_comes_back_where_it_is_registered(model: Any, tmp_path: Path) -> None:
    class Own(LogitRouter):
        def __init__(self, *, scale: float, **sizes: Any) -> None:
            super().__init__(**sizes)
            self.weight = torch.nn.Parameter(scale * torch.randn(self.num_experts, self.hidden_size))
            self.tied = self.weight
            self.register_buffer("steps", torch.tensor(7))

        def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return hidden_states @ self.weight.T

    class Other(Own):
        pass

    with temporary_router("own", Own):
        save_routers(replace_routers(model, "own", scale=2.0), tmp_path)
    second = tiny_model()
    other_class = pytest.raises(SavedRoutersError, match=r"gate: class is .*Other, saved with .*Own; model.layers.1")
    with temporary_router("own", Other), other_class:
        load_routers(second, tmp_path)
    with pytest.raises(SavedRoutersError, match=r"gate: unknown router 'own'; there are: "):
        load_routers(second, tmp_path)
    with temporary_router("own", Own):
        load_routers(second, tmp_path)
    assert torch.equal(logits_of(model), logits_of(second))


def test_routers_saved_before_their_module_moved_still_load(model: Any, copy: Path) -> None:
    def move(content: dict[str, Any]) -> None:
        for layer in content["layers"].values():
            assert layer["class"] == "routers.scorers.attention.AttentionRouter"
            layer["class"] = "routers.attention.AttentionRouter"

    forge(copy, move)
    assert len(load_routers(model, copy).replaced) == 2
    assert saved_differences(model, copy) == []
    forge(copy, lambda content: content["layers"][GATE].update({"class": "routers.attention.Attention"}))
    with pytest.raises(SavedRoutersError, match=r"class is routers.scorers.attention.AttentionRouter, saved with rout"):
        load_routers(tiny_model(), copy)


def test_what_json_cannot_carry_is_refused_and_nothing_is_written(model: Any, tmp_path: Path) -> None:
    class Own(LogitRouter):
        def __init__(self, *, kind: object, **sizes: Any) -> None:
            super().__init__(**sizes)

        def compute_router_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return hidden_states[..., : self.num_experts]

    with temporary_router("own", Own):
        replace_routers(model, "own", kind={1: torch.float32})
        with pytest.raises(ValueError, match=r"router 'own': its option kind = \{1: torch.float32\} cannot be written"):
            save_routers(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_loading_leaves_the_random_numbers_that_come_later(model: Any, saved: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_routers(model, saved)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_to_save_and_nothing_to_load_into(model: Any, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has none of our routers to save"):
        save_routers(model, tmp_path)
    replace_routers(model, "linear")
    with pytest.raises(ValueError, match="replaced already; restore that first"):
        load_routers(model, saved)


def test_routers_without_values_are_not_saved(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = tiny_model()
    replace_routers(model, "linear")
    with pytest.raises(ValueError, match=r"router.weight has no values \(meta device\)"):
        save_routers(model, tmp_path)


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({"num_hidden_layers": 1}, ["num_hidden_layers is 1, saved with 2", "model.layers.1.mlp.gate: not in the"]),
        (
            {"hidden_size": 64, "num_experts": 6},
            [
                "hidden_size is 64, saved with 32",
                "model.layers.1.mlp has 6 experts, saved with 4",
                "input embeddings: shape [61, 64], saved with [61, 32]",
                f"{GATE}: num_experts is 6, saved with 4",
            ],
        ),
        ({"seed": 1}, ["input embeddings: other weights", "model.layers.1.mlp.experts: other weights"]),
        ({"mlp_only_layers": [1]}, ["model.layers.1.mlp has no experts, saved with 4", "layers.1.mlp.gate: not in"]),
    ],
)
def test_another_model_is_refused_with_every_difference(
    saved: Path, changes: dict[str, Any], differences: list[str]
) -> None:
    other = tiny_model(**changes)
    before = logits_of(other)
    with pytest.raises(SavedRoutersError) as error:
        load_routers(other, saved)
    message = one_line(error)
    assert message.startswith(f"{saved}: does not fit the model: ")
    assert all(difference in message for difference in differences)
    assert torch.equal(logits_of(other), before)


def test_a_base_model_without_weights_is_not_taken_for_the_right_one(saved: Path) -> None:
    with torch.device("meta"):
        model = tiny_model()
    with pytest.raises(SavedRoutersError, match="input embeddings: on the meta device, without weights"):
        load_routers(model, saved)


def rewrite(directory: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """As somebody would who writes both files with the right checksums."""
    content, tensors = router_files.read_router_files(directory)
    change(content, tensors)
    router_files.write_router_files(
        directory, {key: content[key] for key in ("model", "layers", "companions")}, tensors
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content, tensors: tensors.pop(QUERIES), f"{QUERIES}: not saved"),
        (lambda content, tensors: tensors.update({f"{GATE}.router.x": torch.ones(1)}), "router.x: saved, and unknown"),
        (lambda content, tensors: tensors.update({QUERIES: torch.ones(8, 31)}), "float32 (8, 32), saved as float32 (8"),
        (lambda content, tensors: tensors.update({QUERIES: tensors[QUERIES].half()}), "saved as float16 (8, 32)"),
        (
            lambda content, tensors: content["layers"][GATE]["options"].update(size=3),
            "size",
        ),
        (lambda content, tensors: content["layers"][GATE]["options"].update(query_size=9), "(9, 32), saved as"),
        (lambda content, tensors: content["layers"][GATE].update(top_k=5), "top_k is 5, expected at most"),
    ],
)
def test_every_key_shape_and_dtype_is_checked(model: Any, copy: Path, change: Any, message: str) -> None:
    rewrite(copy, change)
    before = logits_of(model)
    with pytest.raises(SavedRoutersError) as error:
        load_routers(model, copy)
    assert message in one_line(error)
    assert torch.equal(logits_of(model), before)


@pytest.fixture(scope="module")
def untouched() -> Any:
    return tiny_model()


def assert_refused(model: Any, directory: Path, *words: str) -> None:
    gates = [layer.mlp.gate for layer in model.model.layers]
    with pytest.raises(SavedRoutersError) as error:
        load_routers(model, directory)
    message = one_line(error)
    assert str(directory) in message
    assert all(word in message for word in words), message
    assert all(layer.mlp.gate is gate for layer, gate in zip(model.model.layers, gates, strict=True))


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS[0]])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_truncated_file_is_taken(untouched: Any, copy: Path, saved: Path, file: str, data: st.DataObject) -> None:
    whole = (saved / file).read_bytes()
    length = data.draw(st.one_of(st.integers(0, 40), st.integers(0, len(whole) - 1)))
    (copy / file).write_bytes(whole[:length])
    assert_refused(untouched, copy, file)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS[0]])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_byte_is_overlooked(untouched: Any, copy: Path, saved: Path, file: str, data: st.DataObject) -> None:
    changed = bytearray((saved / file).read_bytes())
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    (copy / file).write_bytes(changed)
    assert_refused(untouched, copy, file)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS[0]])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_whatever_its_name(untouched: Any, copy: Path, file: str, zipped: bool) -> None:
    torch.save({"a": torch.ones(1)}, copy / file, _use_new_zipfile_serialization=zipped)
    assert_refused(untouched, copy, f"{file}: this is a pickle, which is refused")


@pytest.mark.parametrize("name", ["routers.bin", "pytorch_model.pt"])
def test_a_directory_with_a_pickle_alone_is_refused(untouched: Any, tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    assert_refused(untouched, tmp_path, f"{CONFIG}: there is no such file; {name}: pickle is refused")


def test_missing_and_foreign_files_are_refused(untouched: Any, copy: Path, tmp_path: Path) -> None:
    assert_refused(untouched, tmp_path / "nowhere", "there is no such file")
    foreign = safetensors.torch.save({"a": torch.ones(1)})
    (copy / WEIGHTS[0]).write_bytes(foreign)
    assert_refused(untouched, copy, WEIGHTS[0], "its SHA-256 is")
    (copy / WEIGHTS[0]).unlink()
    assert_refused(untouched, copy, WEIGHTS[0], "there is no such file")
    for content, words in [
        ("[1]", "holds no JSON object"),
        ('{"kind": "fine-tuning"}', "its kind is not 'routers'"),
        ('{"kind": "routers", "schema": 2}', "its schema is 2, expected 1"),
        ("[" * 100_000, "no JSON"),
    ]:
        (copy / CONFIG).write_text(content)
        assert_refused(untouched, copy, CONFIG, words)


def test_a_json_that_names_another_file_is_refused(untouched: Any, copy: Path) -> None:
    content = json.loads((copy / CONFIG).read_text())
    del content["checksum"]
    content["weights"]["file"] = "../routers.safetensors"
    content["checksum"] = router_files._checksum(content)
    (copy / CONFIG).write_text(json.dumps(content, indent=1))
    assert_refused(untouched, copy, "names '../routers.safetensors', expected")


def forge(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """As somebody would who writes the JSON with the right checksum."""
    content = json.loads((directory / CONFIG).read_text())
    del content["checksum"]
    change(content)
    content["checksum"] = router_files._checksum(content)
    (directory / CONFIG).write_text(json.dumps(content, indent=1))


OTHER_GATE = "model.layers.1.mlp.gate"
OTHER_CONTENT = "does not hold what save_routers writes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["layers"][GATE].update(dtype="float33"), "has no attribute 'float33'"),
        (lambda content: content["layers"][GATE].update(dtype="int64"), f"{GATE}: nn.Module.to only accepts floating"),
        (lambda content: content["layers"][GATE].update(scaling="x"), f"{GATE}: could not convert string to float"),
        (lambda content: content["layers"][GATE].update(options=[]), OTHER_CONTENT),
        (lambda content: content["layers"][GATE].update(hidden_size=10**12), "hidden_size is 32, saved with 100000000"),
        (lambda content: content["layers"][GATE].update(num_experts=10**12), "num_experts is 4, saved with 10000000"),
        (
            lambda content: content["layers"][GATE]["options"].update(query_size=10**12),
            "expert_keys is float32 (4, 1000",
        ),
        (lambda content: content["layers"][GATE].pop("class"), f"{OTHER_CONTENT}: 'class' (KeyError)"),
        (lambda content: content.pop("layers"), f"{OTHER_CONTENT}: 'layers' (KeyError)"),
        (lambda content: content.update(layers=[]), OTHER_CONTENT),
        (lambda content: content["layers"].update({"a\nb": 3}), OTHER_CONTENT),
        (lambda content: content["layers"].update({OTHER_GATE: {"same_as": "model.x"}}), OTHER_CONTENT),
        (lambda content: content["layers"].update({GATE: {"same_as": GATE}}), OTHER_CONTENT),
        (lambda content: content.pop("weights"), f"{OTHER_CONTENT}: 'weights' (KeyError)"),
        (lambda content: content["weights"].update(file=3), "names 3, expected routers.safetensors or"),
        (lambda content: content.update(tensors=3), OTHER_CONTENT),
        (lambda content: content.update(model={}), OTHER_CONTENT),
        (lambda content: content["model"]["sample"].pop("input embeddings"), "input embeddings: not sampled when it"),
        (lambda content: content["model"]["sample"]["input embeddings"].update(values=[]), "embeddings: other weights"),
        (lambda content: content["model"]["sample"]["input embeddings"]["values"].pop(), "embeddings: other weights"),
        (lambda content: content["model"]["sample"]["input embeddings"].update(values=None), OTHER_CONTENT),
    ],
)
def test_a_right_checksum_does_not_make_a_content_right(
    untouched: Any, copy: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    forge(copy, change)
    assert_refused(untouched, copy, message)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_place_holds_it_is_one_line_or_routers(
    untouched: Any, copy: Path, saved: Path, data: st.DataObject
) -> None:
    shutil.copy(saved / CONFIG, copy)
    value = data.draw(st.sampled_from([None, "x", "", -1, 0, 1.5, 10**12, True, [], [[]], {}, {"x": {}}]))

    def change(content: dict[str, Any]) -> None:
        inner: Any = content
        while True:
            key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            below = inner[key]
            if not isinstance(below, (dict, list)) or not below or data.draw(st.booleans()):
                inner[key] = value
                return
            inner = below

    forge(copy, change)
    try:
        load_routers(untouched, copy).restore()
    except SavedRoutersError as error:
        assert "\n" not in str(error)  # noqa: PT017  # a place may also hold what another router could have


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": torch.arange(4).flip(0)}, f"{GATE}.options.prior: other values"),
        ({"prior": torch.arange(3)}, f"{GATE}.options.prior is int64 (3,), saved as int64 (4,)"),
        ({"bias": False}, f"{GATE}.options.prior: saved, and unknown"),
    ],
)
def test_another_tensor_among_the_options_is_another_router(
    model: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    save_routers(replace_routers(tiny_model(), "prior", prior=torch.arange(4)), tmp_path)
    replace_routers(model, "prior", **options)
    assert message in "; ".join(saved_differences(model, tmp_path))


def test_weights_scaled_otherwise_are_those_of_another_router(model: Any, saved: Path) -> None:
    load_routers(model, saved).replaced[0].gate.scaling = 2.5
    assert saved_differences(model, saved) == [f"{GATE}: scaling is 2.5, saved with 1.0"]


def test_routers_of_a_base_model_without_weights_are_not_saved(model: Any, tmp_path: Path) -> None:
    replace_routers(model, "linear")
    model.model.layers[1].self_attn.to("meta")
    with pytest.raises(
        ValueError, match=r"model.layers.1.self_attn: has no values \(meta device\), so the model could"
    ):
        save_routers(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_killed_process_leaves_the_old_routers_or_the_new(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tiny_model(), tiny_model()
    load_routers(first, copy)
    replace_routers(second, "mlp")
    replace, left, outcomes = os.replace, [0], []

    def killed(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for survived in (0, 1, 2):
        left[0] = survived
        with suppress(KeyboardInterrupt):
            save_routers(second, copy)
        present = tiny_model()
        load_routers(present, copy)
        outcomes.append([torch.equal(logits_of(present), logits_of(model)) for model in (first, second)])
    assert outcomes == [[True, False], [True, False], [False, True]]
    assert sorted(path.name for path in copy.iterdir()) == [WEIGHTS[1], CONFIG]


def test_written_again_and_again_it_is_the_last(tmp_path: Path) -> None:
    for name in ("linear", "mlp", "attention"):
        model = tiny_model()
        save_routers(replace_routers(model, name), tmp_path)
        present = tiny_model()
        load_routers(present, tmp_path)
        assert torch.equal(logits_of(present), logits_of(model))
        assert len(list(tmp_path.iterdir())) == 2


def test_saved_twice_at_once_it_is_one_of_both(at_once: Callable[..., None], tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model()
    replace_routers(first, "linear")
    replace_routers(second, "mlp")
    at_once(lambda: save_routers(first, tmp_path), lambda: save_routers(second, tmp_path))
    present = tiny_model()
    load_routers(present, tmp_path)
    assert [torch.equal(logits_of(present), logits_of(model)) for model in (first, second)].count(True) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_other_routers_are_told_from_those_that_were_saved(model: Any, saved: Path) -> None:
    replace_routers(model, "attention", query_size=9, layers=[0])
    message = "; ".join(saved_differences(model, saved))
    assert "model.layers.1.mlp.gate: not replaced in the model" in message
    assert f"{GATE}: options is" in message
    assert f"{QUERIES} is float32 (9, 32), saved as float32 (8, 32)" in message


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "query_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["mlp.gate"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["query_proj"]},
    ],
)
def test_it_sees_through_peft(lora: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model()
    replacement = replace_routers(model, "attention", query_size=8)
    save_routers(model, tmp_path / "plain")
    adapted = peft.get_peft_model(model, peft.LoraConfig(**lora))
    for routers in (adapted, replacement):
        save_routers(routers, tmp_path / "adapted")
        plain, seen = (router_files.read_router_files(tmp_path / name)[1] for name in ("plain", "adapted"))
        assert plain.keys() == seen.keys()
        assert all(torch.equal(plain[key], seen[key]) for key in plain)


def test_what_an_adapter_has_trained_fully_is_what_is_saved(tmp_path: Path) -> None:
    model = tiny_model()
    replace_routers(model, "linear")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["mlp.gate"]))
    with torch.no_grad():
        model.model.layers[0].mlp.gate.modules_to_save["default"].router.weight.fill_(2.0)
    save_routers(adapted, tmp_path)
    assert bool((router_files.read_router_files(tmp_path)[1][f"{GATE}.router.weight"] == 2).all())


def test_merged_adapters_are_not_saved_as_routers(tmp_path: Path) -> None:
    model = tiny_model()
    replace_routers(model, "attention")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query_proj"]))
    adapted.merge_adapter()
    with pytest.raises(ValueError, match="an adapter is merged into a Linear: unmerge it first"):
        save_routers(adapted, tmp_path)


@pytest.mark.parametrize("beginning", [b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05"])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path: Path, beginning: bytes) -> None:
    plain = safetensors.torch.save({"a": torch.ones(3)})
    length = int.from_bytes(plain[:8], "little")
    wanted = int.from_bytes(beginning, "little")
    header, values = plain[8 : 8 + length], plain[8 + length :]
    (tmp_path / "x").write_bytes(wanted.to_bytes(8, "little") + header.ljust(wanted) + values)
    tensors = router_files.parse_safetensors(tmp_path / "x", router_files.read_file(tmp_path / "x"))
    assert tensors["a"].tolist() == [1, 1, 1]


def test_routers_with_such_a_header_are_loaded(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "num_experts": 16, "num_hidden_layers": 6}
    save_routers(replace_routers(tiny_model("qwen3_moe", **sizes), "linear"), tmp_path)
    assert (tmp_path / WEIGHTS[0]).read_bytes()[:2] == b"\x80\x02"
    assert len(load_routers(tiny_model("qwen3_moe", **sizes), tmp_path).replaced) == 6


def test_nan_weights_are_neither_saved_nor_loaded(model: Any, copy: Path, tmp_path: Path) -> None:
    rewrite(copy, lambda _, tensors: tensors[QUERIES][0].fill_(torch.nan))
    assert_refused(model, copy, f"{QUERIES}: holds NaN")
    replacement = replace_routers(model, "linear", bias=True)
    with torch.no_grad():
        replacement.replaced[0].router.bias[0] = -torch.inf  # that expert is never chosen
        save_routers(model, tmp_path / "masked")
        replacement.replaced[0].router.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=f"^{GATE}.router.weight: holds NaN, which could not be loaded again"):
        save_routers(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_memory_is_asked_for_a_size_that_was_not_saved(
    untouched: Any, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, make_aside = [], RouterConfig.make_aside

    def watched(self: RouterConfig, device: str = "cpu") -> Any:
        devices.append(device)
        return make_aside(self, device)

    monkeypatch.setattr(RouterConfig, "make_aside", watched)
    forge(copy, lambda content: content["layers"][GATE]["options"].update(query_size=40_000_000))
    assert_refused(untouched, copy, f"{QUERIES} is float32 (40000000, 32), saved as float32 (8, 32)")
    assert devices[:2] == ["meta", "meta"]


@pytest.mark.parametrize("depth", [100, 500, 5000])
def test_deeply_nested_options_are_one_line(untouched: Any, copy: Path, depth: int) -> None:
    written = (copy / CONFIG).read_text()
    assert '"query_size": 8' in written
    (copy / CONFIG).write_text(written.replace('"query_size": 8', f'"query_size": {"[" * depth}{"]" * depth}'))
    assert_refused(untouched, copy, CONFIG)
