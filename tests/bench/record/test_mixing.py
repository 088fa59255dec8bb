"""Runs of `pytest bench` that share files or meet other models than before: nothing is lost, and nothing mixed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tests.bench.runs import SMALL, Files, Zygote, killed_in_the_middle

ENCODER = "bench_router and plain and (linear or hash)"
FEWER = "bench_router and supplemental and linear"
PAUSE = """
import time
from pathlib import Path

from bench.record.output import WholeFile
from routers.scorers.linear import LinearRouter

HERE, DEADLINE = Path(__file__).parent, time.monotonic() + 120
keep = WholeFile.keep


def keep_later(self):
    (HERE / "written").touch()
    while not (HERE / "go").exists() and time.monotonic() < DEADLINE:
        time.sleep(0.01)
    keep(self)


WholeFile.keep = keep_later


class PausedRouter(LinearRouter):
    pass
"""
"""A router's file whose run waits when its JSON is written, and not yet in its place."""


@pytest.mark.parametrize("journal", ["journal", "another journal"])
def test_two_runs_with_one_json_lose_nothing(zygote: Zygote, other_zygote: Zygote, files: Files, journal: str) -> None:
    router = files.folder / "paused.py"
    router.write_text(PAUSE)
    go, written = files.folder / "go", files.folder / "written"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(zygote.run, files, SMALL, f"--router={router}:PausedRouter")
        try:
            while not written.exists():
                assert not running.done(), running.result().output
                time.sleep(0.01)
            second = other_zygote.run(files, FEWER, "--journal", str(files.folder / journal))
            left = files.document()
        finally:
            go.touch()
        first = running.result()
    if journal == files.journal.name:
        assert second.code == pytest.ExitCode.USAGE_ERROR
        assert "another run is writing it; wait, or choose another file" in second.output
        assert left is None
    else:
        assert second.code == 0, second.output
        assert left is not None
        assert len(left["benchmarks"]) == 1
    assert "Traceback" not in first.output + second.output
    assert first.code == 0, first.output
    document = files.document()
    assert document is not None
    assert len(document["benchmarks"]) == 2
    assert not [path for path in files.folder.iterdir() if path.suffix == ".part" or path == files.journal]


@pytest.fixture
def make_encoder(tmp_path: Path) -> Callable[[str, int], Path]:
    """Saves a random BERT, of a name and a seed."""

    def make(name: str, seed: int) -> Path:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            BertForMaskedLM(BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path / name)
        words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


def test_a_run_is_not_continued_with_another_model(
    zygote: Zygote, files: Files, make_encoder: Callable[[str, int], Path]
) -> None:
    first, second = files.folder / "first", make_encoder("second", 2)
    options = ("--model", str(first), "--model", str(second))
    lines = killed_in_the_middle(zygote, files, ENCODER, *options)

    def refused() -> None:
        outcome = zygote.run(files, ENCODER, *options, "--resume")
        assert outcome.code == pytest.ExitCode.USAGE_ERROR, outcome.output
        assert f"ERROR: {files.journal}: made with another encoder than can be had now; restore" in outcome.output
        assert "Traceback" not in outcome.output
        assert (files.lines(), files.json.exists()) == (lines, False)

    make_encoder("first", 1)  # now it can be had
    refused()
    first.rename(files.folder / "away")
    config = (second / "config.json").read_text()
    (second / "config.json").write_text(json.dumps(json.loads(config) | {"hidden_act": "relu"}))
    refused()  # the weights are the same
    (second / "config.json").write_text(config)
    outcome = zygote.run(files, ENCODER, *options, "--resume")
    assert outcome.code == 0, outcome.output
    assert f"continuing after {len(lines) - 1} finished measurements" in outcome.output
    document = files.document()
    assert document is not None
    assert document["study"]["model"]["name"] == str(second)
