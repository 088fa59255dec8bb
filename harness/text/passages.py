"""Lines of Shakespeare for training, calibration and evaluation, disjoint by whole works, and as batches of tokens.

Axes: B batch, S sequence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.text.texts import resolve_text

if TYPE_CHECKING:  # otherwise imported where a tokenizer is loaded: it takes three seconds
    from transformers import PreTrainedTokenizerBase

IGNORED_LABEL = -100
"""The label that cross entropy leaves out: `ignore_index` of torch and of transformers."""

# The title page that every work of the text begins with.
_TITLE_PAGE = re.compile(r"^(?P<title>\S[^\n]*)\n+by William Shakespeare$", re.MULTILINE)
_MIN_WORDS = 5  # speakers' names, short stage directions and half lines have fewer
_HELD_OUT_WORKS = 6
_CALIBRATION_WORKS = 6


@dataclass(frozen=True)
class Passages:
    """Lines of a text in three parts, no work and no line in two of them.

    A line is what stands between two line breaks, without the blanks around it; those of fewer than five words are left
    out, and of equal lines all but one. The order looks random (it is that of the lines' hashes) and is the same
    everywhere, so that the first N lines are a fair sample.

    Attributes:
        source: where the text came from, in words.
        sha256: of the whole text in UTF-8.
        train: what models are fine-tuned on.
        calibration: what the embedded language model was made with, and routers are distilled on.
        held_out: what perplexity is taken on; nothing is ever fitted to it.
        calibration_text: the works of `calibration` as they run, every line that is not empty, for `encode_windows`.
        held_out_text: the works of `held_out`, in the same form.
    """

    source: str
    sha256: str
    train: tuple[str, ...] = field(repr=False)
    calibration: tuple[str, ...] = field(repr=False)
    held_out: tuple[str, ...] = field(repr=False)
    calibration_text: str = field(default="", repr=False)
    held_out_text: str = field(default="", repr=False)


def load_passages() -> Passages:
    """The 42 works of the text `shakespeare`: the last 6 held out, the 6 before them for calibration, 30 to train on.

    Raises:
        AssetError: the text cannot be had.
    """
    asset = resolve_text("shakespeare")
    works = split_works(asset.text)
    to_train = works[: -_CALIBRATION_WORKS - _HELD_OUT_WORKS]
    to_calibrate = works[-_CALIBRATION_WORKS - _HELD_OUT_WORKS : -_HELD_OUT_WORKS]
    to_hold_out = works[-_HELD_OUT_WORKS:]
    # What was seen first is taken out of what comes later: refrains and commonplaces stand in several works.
    train = _lines(to_train, ())
    calibration = _lines(to_calibrate, train)
    held_out = _lines(to_hold_out, (*train, *calibration))
    return Passages(
        asset.source, asset.sha256, train, calibration, held_out, _running(to_calibrate), _running(to_hold_out)
    )


def split_works(text: str) -> list[str]:
    """The works, each from its title to the next one's."""
    starts = [match.start() for match in _TITLE_PAGE.finditer(text)]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _lines(works: Sequence[str], seen: Iterable[str]) -> tuple[str, ...]:
    stripped = {line.strip() for work in works for line in work.splitlines()}
    long_enough = (line for line in stripped - set(seen) if len(line.split()) >= _MIN_WORDS)
    return tuple(sorted(long_enough, key=lambda line: hashlib.sha256(line.encode("utf-8")).digest()))


def _running(works: Sequence[str]) -> str:
    return "\n".join(line.strip() for work in works for line in work.splitlines() if line.strip())


def encode_lines(tokenizer: PreTrainedTokenizerBase, lines: Sequence[str], max_length: int = 256) -> list[Tensor]:
    """Each line's tokens, (S,) int64 with S at most `max_length`; no special tokens but those the tokenizer adds.

    Raises:
        ValueError: `max_length` below 2, which leaves nothing to predict.
    """
    if max_length < 2:
        raise ValueError(f"max_length is {max_length}, expected at least 2: the first token is not predicted")
    if not lines:
        return []
    encoded = tokenizer(
        list(lines), truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )["input_ids"]
    return [torch.tensor(ids, dtype=torch.int64) for ids in encoded]


def encode_windows(tokenizer: PreTrainedTokenizerBase, text: str, *, length: int, count: int) -> Tensor:
    """(count, length) int64, consecutive tokens from starts of lines that are evenly spread over the text.

    Lines alone say little of a language model: half of what it knows of a word comes from the lines before.

    Raises:
        ValueError: the text has fewer places to begin at.
    """
    # Line by line, which the tokenizer spreads over its threads; it never joins a line break with what follows it.
    encoded = tokenizer(
        text.splitlines(keepends=True), add_special_tokens=False, padding=False, return_attention_mask=False
    )["input_ids"]
    sizes = torch.tensor([len(ids) for ids in encoded])
    tokens = torch.tensor([token for ids in encoded for token in ids], dtype=torch.int64)
    starts = sizes.cumsum(0) - sizes
    starts = starts[starts + length <= len(tokens)]
    if not 1 <= count <= len(starts):
        raise ValueError(f"count is {count}, the text has {len(starts)} lines that begin a window of {length} tokens")
    chosen = starts[torch.arange(count) * len(starts) // count]
    return tokens[chosen[:, None] + torch.arange(length)]


def pad_batch(sequences: Sequence[Tensor], pad_id: int) -> dict[str, Tensor]:
    """A batch of sequences, padded on the right to the longest.

    Returns:
        `input_ids` (B, S), `attention_mask` (B, S) with 0 on padding, and `labels` (B, S), the tokens themselves with
        -100 on padding (transformers shifts them); all int64.

    Raises:
        ValueError: no sequences.
    """
    if not sequences:
        raise ValueError("pad_batch needs at least one sequence")
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    input_ids = pad_sequence(list(sequences), batch_first=True, padding_value=pad_id)
    mask = torch.arange(input_ids.shape[1]) < lengths[:, None]  # (B, S)
    return {
        "input_ids": input_ids,
        "attention_mask": mask.long(),
        "labels": input_ids.masked_fill(~mask, IGNORED_LABEL),
    }
