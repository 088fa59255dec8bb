from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.text.passages import Passages, encode_lines, encode_windows, load_passages, pad_batch, split_works


@pytest.fixture(scope="module")
def passages() -> Passages:
    return load_passages()


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """Words and line breaks; `wN` is token N, a line break is token 0."""
    tokenizer = Tokenizer(models.WordLevel({"\n": 0, **{f"w{n}": n for n in range(1, 200)}}, unk_token="\n"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_no_line_is_in_two_parts_and_none_is_there_twice(passages: Passages) -> None:
    parts = [passages.train, passages.calibration, passages.held_out]
    assert [len(part) for part in parts] == [68_173, 15_772, 14_400]
    assert len({line for part in parts for line in part}) == sum(map(len, parts))


def test_the_parts_are_whole_works(passages: Passages) -> None:
    assert "To be, or not to be,--that is the question:--" in passages.train
    assert passages.calibration_text.startswith("THE TRAGEDY OF KING RICHARD THE SECOND\n")
    assert passages.held_out_text.startswith("THE LIFE OF TIMON OF ATHENS\n")
    assert passages.held_out_text.count("\nby William Shakespeare\n") == 6
    assert set(passages.held_out) <= set(passages.held_out_text.splitlines())
    assert set(passages.calibration) <= set(passages.calibration_text.splitlines())


def test_lines_are_stripped_and_not_empty_or_short(passages: Passages) -> None:
    for line in (*passages.train[:5000], *passages.calibration[:5000], *passages.held_out[:5000]):
        assert line == line.strip()
        assert len(line.split()) >= 5


def test_the_order_is_the_same_everywhere_and_mixes_works(passages: Passages) -> None:
    assert load_passages() == passages
    assert passages.train[0] == "I told you: Lord Angelo, belike thinking me remiss in mine"
    assert passages.held_out[0] == "Is this the generation of love: hot blood, hot thoughts,"


def test_a_work_begins_with_its_title_page() -> None:
    text = "ONE\n\nby William Shakespeare\n\nwords by William Shakespeare\n\nTWO\nby William Shakespeare\nmore"
    assert split_works(text) == [
        "ONE\n\nby William Shakespeare\n\nwords by William Shakespeare\n\n",
        "TWO\nby William Shakespeare\nmore",
    ]


def test_lines_become_tokens_up_to_a_length(words: PreTrainedTokenizerFast) -> None:
    one, two = encode_lines(words, ["w1 w2 w3 w4", "w5 w6"], max_length=3)
    assert (one.tolist(), two.tolist(), one.dtype) == ([1, 2, 3], [5, 6], torch.int64)
    assert encode_lines(words, []) == []


def test_a_length_that_leaves_nothing_to_predict_is_refused(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="max_length is 1, expected at least 2"):
        encode_lines(words, ["w1 w2"], max_length=1)


def test_windows_begin_with_lines_and_are_spread_over_the_text(words: PreTrainedTokenizerFast) -> None:
    text = "".join(f"w{2 * n + 1} w{2 * n + 2} \n" for n in range(50))
    windows = encode_windows(words, text, length=4, count=3)
    # 49 lines begin a window of four tokens (a line is three); of these the 0th, the 16th and the 32nd.
    assert windows.tolist() == [[1, 2, 0, 3], [33, 34, 0, 35], [65, 66, 0, 67]]


def test_windows_that_the_text_has_not_are_refused(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="count is 9, the text has 1 lines that begin a window of 3 tokens"):
        encode_windows(words, "w1 w2 \nw3", length=3, count=9)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_padding_is_on_the_right_masked_and_without_labels(lengths: list[int]) -> None:
    sequences = [torch.arange(1, length + 1) for length in lengths]
    batch = pad_batch(sequences, pad_id=77)
    for row, sequence in enumerate(sequences):
        rest = max(lengths) - len(sequence)
        assert batch["input_ids"][row].tolist() == [*sequence.tolist(), *[77] * rest]
        assert batch["attention_mask"][row].tolist() == [1] * len(sequence) + [0] * rest
        assert batch["labels"][row].tolist() == [*sequence.tolist(), *[-100] * rest]


def test_a_token_equal_to_the_padding_keeps_its_label() -> None:
    batch = pad_batch([torch.tensor([2, 2, 2]), torch.tensor([2])], pad_id=2)
    assert batch["labels"].tolist() == [[2, 2, 2], [2, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_no_sequences_make_no_batch() -> None:
    with pytest.raises(ValueError, match="at least one sequence"):
        pad_batch([], pad_id=0)
