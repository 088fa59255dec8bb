from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.record.output import WholeFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bench.json"
    path.write_text("an earlier run's")
    return path


def test_what_was_there_stays_until_the_new_is_kept(path: Path) -> None:
    file = WholeFile(path)
    with open(file, mode="wb") as opened:  # as pytest-benchmark does
        opened.write(b"half")
        assert path.read_text() == "an earlier run's"
        opened.write(b" and half")
    assert path.read_text() == "an earlier run's"
    file.keep()
    assert path.read_text() == "half and half"
    assert os.listdir(path.parent) == ["bench.json"]


def test_it_shows_as_the_path_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = WholeFile(Path("bench.json"))
    assert f"{file}" == "bench.json"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path(file).write_text("new")
    file.keep()
    assert (tmp_path / "bench.json").read_text() == "new"


def test_without_a_result_nothing_is_replaced(path: Path) -> None:
    for left in ("999999999.part", "no-number.part"):
        Path(f"{path}.{left}").write_text("of a killed run")
    WholeFile(path).keep()
    assert path.read_text() == "an earlier run's"
    assert os.listdir(path.parent) == ["bench.json"]


def test_another_run_that_still_writes_keeps_its_part(path: Path) -> None:
    part = Path(f"{path}.{os.getppid()}.part")
    part.write_text("of a run that is going on")
    WholeFile(path)
    assert part.exists()


def test_what_was_written_and_is_gone_is_an_error(path: Path) -> None:
    file = WholeFile(path)
    Path(file).write_text("new")
    Path(file).unlink()
    with pytest.raises(FileNotFoundError):
        file.keep()
    assert path.read_text() == "an earlier run's"


def test_it_is_on_the_disk_before_it_takes_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = WholeFile(path)
    Path(file).write_text("new")
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.read_text()))
    file.keep()
    assert seen == ["an earlier run's", "new"]  # the file, and then its folder


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        WholeFile(tmp_path)


def test_what_cannot_be_replaced_does_not_suit(path: Path) -> None:
    link, pipe = path.with_name("link"), path.with_name("pipe")
    link.symlink_to(path)
    os.mkfifo(pipe)
    assert [WholeFile.suits(each) for each in (path, path.with_name("new"), path.parent)] == [True] * 3
    assert [WholeFile.suits(each) for each in (link, pipe, Path(os.devnull))] == [False] * 3
