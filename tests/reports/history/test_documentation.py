"""The commands that the guides show do what the guides say."""

import json
import re
import shlex
from pathlib import Path

import pytest

from reports.__main__ import main

GUIDES = Path(__file__).parents[3] / "docs" / "how-to"
COMMANDS = {
    guide: re.findall(r"^    python -m reports (.*?)(?: +#.*)?$", (GUIDES / f"{guide}.md").read_text(), re.MULTILINE)
    for guide in ("history", "export")
}


@pytest.mark.parametrize("guide", COMMANDS)
def test_the_commands_of_a_guide_run(guide, make_run, store, tmp_path, monkeypatch, capsys):
    store(*(make_run(number) for number in range(2))).rename(tmp_path / ".benchmarks")
    (tmp_path / "x.json").write_text(json.dumps(make_run(3)))
    monkeypatch.chdir(tmp_path)
    assert COMMANDS[guide]
    for words in COMMANDS[guide]:
        assert main(shlex.split(words)) == 0
        assert (tmp_path / shlex.split(words)[-1]).exists()
    capsys.readouterr()


def test_the_files_that_a_guide_names_are_written(make_run, store, tmp_path, capsys):
    folder = store(*(make_run(number, slower=1 + (number > 5)) for number in range(10)))
    assert main(["history", str(folder), "-o", str(tmp_path / "history")]) == 0
    capsys.readouterr()
    named = re.findall(r"`(\w+\.csv)`", (GUIDES / "history.md").read_text())
    assert len(named) == 4
    assert all((tmp_path / "history" / "tables" / name).exists() for name in named)
