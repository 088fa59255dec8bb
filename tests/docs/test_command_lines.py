"""The page of all options says what the programs take."""

from __future__ import annotations

import pytest

from tests.docs.command_lines import BEGIN, END, PAGE, parser_of, written


def test_the_page_is_up_to_date() -> None:
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == written(), "python -m tests.docs.command_lines writes it anew"


def test_no_path_of_a_machine_is_in_it() -> None:
    assert "`/" not in PAGE.read_text()


def test_a_program_without_help_is_noticed() -> None:
    with pytest.raises(AssertionError, match="has no help"):
        parser_of(lambda words: None)
