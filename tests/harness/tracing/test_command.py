"""python -m harness trace: a model, texts, a file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.__main__ import main
from harness.tracing import command
from reports.traces import read_trace
from tests.harness.tiny_models import tiny_model


class Tokenizer:
    """A token a character."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(each) % 61 for each in text]}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A tiny model in place of the one that is asked for, and two texts."""
    found = SimpleNamespace(model=tiny_model("mixtral"), tokenizer=Tokenizer())
    monkeypatch.setattr(command, "resolve_language_model", lambda name: name)
    monkeypatch.setattr(command, "load_language_model", lambda asset: found)
    (tmp_path / "english.txt").write_text("to be or not to be")
    (tmp_path / "code.txt").write_text("def f(): return 1")
    return tmp_path


def test_texts_are_domains(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--text", str(tiny / "english.txt"), "--text", str(tiny / "code.txt"), "--tokens", "10", "--length", "4"]
    assert main(["trace", *words, "-o", str(tiny / "t.safetensors")]) == 0
    assert capsys.readouterr().out.endswith("20 tokens, 2 layers, 2 of 4 experts; python -m reports traces shows it\n")
    trace = read_trace(tiny / "t.safetensors")
    assert trace.domains is not None
    assert trace.domains.tolist() == ["english"] * 10 + ["code"] * 10


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--text", "no.txt"], "no.txt: no such file, and no text of that name; there are prose, shakespeare"),
        (["-o", "t.npz"], "-o is 't.npz', expected a name that ends in .safetensors"),
        (["--tokens", "0"], "tokens is 0, expected at least 1"),
        (["--threads", "0"], "threads is 0, expected 1 to"),
    ],
)
def test_a_mistake_is_one_line(tiny: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trace: {line}")
    assert error.count("\n") == 1
