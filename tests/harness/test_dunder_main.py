"""`python -m harness` by itself, and what its command lines have in common."""

from __future__ import annotations

import argparse

import pytest

from harness.__main__ import main
from harness.command_line import most_threads, parse


def test_bare_it_prints_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: python -m harness COMMAND")
    assert "  finetune   fine-tune a Mixture-of-Experts language model" in captured.err
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == captured.err


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune\n", "--help"]) == 2
    assert capsys.readouterr().err == "harness: no command 'tune\\n'; there are: finetune, trace\n"


@pytest.mark.parametrize("word", ["--output=--", "-o--", "--x-y=--"])
def test_dashes_are_no_value(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="p")
    parser.add_argument("-o", "--output")
    with pytest.raises(SystemExit) as raised:
        parse(parser, [word])
    assert raised.value.code == 2
    assert f"{word}: '--' is no value" in capsys.readouterr().err


def test_other_values_are_taken() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output")
    parser.add_argument("rest", nargs="*")
    options = parse(parser, ["--output=---", "--", "-x"])
    assert (options.output, options.rest) == ("---", ["-x"])
    assert most_threads() >= 4
