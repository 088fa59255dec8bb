from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.assets import encoders as embedded
from harness.assets import resolve as assets
from harness.assets.encoders import EmbeddedModel
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.fetch import file_sha256
from harness.assets.resolve import ModelAsset, list_models, resolve_model
from harness.text.texts import list_texts


def test_embedded_is_the_hubs_minilm(embedded: ModelAsset) -> None:
    assert embedded.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert file_sha256(embedded.path / "model.safetensors") == embedded.sha256
    assert embedded.source.startswith(("package ", "installed package "))
    assert embedded.note is not None
    assert "sentence-tuned" in embedded.note


def test_catalogue_names_and_pins() -> None:
    assert list_models() == ["embedded", "embedded-768"]
    assert list_texts() == ["prose", "shakespeare"]
    pins = [package for model in embedded_models() for carrier in model.carriers for package in carrier]
    assert len(pins) == 8
    assert all(re.fullmatch("[0-9a-f]{64}", pin.sha256) for pin in pins)


def embedded_models() -> list[EmbeddedModel]:
    return list(embedded.EMBEDDED.values())


def test_first_name_that_can_be_had_is_taken_and_the_note_says_so(
    monkeypatch: pytest.MonkeyPatch, embedded: ModelAsset
) -> None:
    def no_hub(name: str) -> Path:
        raise AssetError(f"{name}: no hub reachable")

    monkeypatch.setattr(assets, "hub_snapshot", no_hub)
    asset = resolve_model("bert-base-uncased", "embedded")
    assert (asset.name, asset.requested, asset.path) == ("embedded", "bert-base-uncased", embedded.path)
    assert asset.note is not None
    assert asset.note.startswith("asked for bert-base-uncased: no hub reachable; took embedded (all-MiniLM-L6-v2, ")


def test_unknown_name_gives_one_line_that_lists_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_hub(name: str) -> Path:
        raise AssetError(f"{name}: no hub reachable")

    monkeypatch.setattr(assets, "hub_snapshot", no_hub)
    with pytest.raises(AssetError) as caught:
        resolve_model("no-such-model", "nor/this")
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in ("no-such-model", "nor/this", "embedded", "embedded-768"))


def test_no_name_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        resolve_model()


def make_directory(path: Path, *files: str) -> Path:
    path.mkdir()
    for file in files:
        (path / file).write_bytes(file.encode())
    return path


def test_local_directory(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "mine", "config.json", "model.safetensors", "other.safetensors")
    asset = resolve_model(str(path))
    assert (asset.path, asset.note) == (path, None)
    assert asset.sha256 == file_sha256(path / "model.safetensors")


def test_sharded_weights_have_one_hash_in_the_order_of_their_names(tmp_path: Path) -> None:
    a = make_directory(tmp_path / "a", "config.json", "m-1.safetensors", "m-2.safetensors")
    b = make_directory(tmp_path / "b", "config.json", "m-2.safetensors", "m-1.safetensors")
    c = make_directory(tmp_path / "c", "config.json", "m-1.safetensors")
    assert resolve_model(str(a)).sha256 == resolve_model(str(b)).sha256 != resolve_model(str(c)).sha256


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        pytest.param(("config.json", "pytorch_model.bin"), "pytorch_model.bin: pickle is refused", id="pickle only"),
        pytest.param(("config.json",), r"expected \*.safetensors, there is none", id="no weights"),
        pytest.param(("model.safetensors",), "there is no config.json", id="no config"),
    ],
)
def test_local_directory_that_is_no_model_is_refused(tmp_path: Path, files: tuple[str, ...], complaint: str) -> None:
    path = make_directory(tmp_path / "mine", *files)
    with pytest.raises(AssetError, match=complaint):
        resolve_model(str(path))


def test_a_refused_download_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> tuple[Path, str]:
        raise RefusedAssetError(f"{name}: refused")

    monkeypatch.setattr(assets, "embedded_model", refuse)
    with pytest.raises(RefusedAssetError, match="embedded-768: refused"):
        resolve_model("embedded-768", "/")
