from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.record.journal import Journal, JournalError

CONFIGURATION = {"preset": "quick", "threads": 1}


def written(path: Path, *results: str) -> None:
    with Journal(path, CONFIGURATION, resume=False) as journal:
        for index, result in enumerate(results):
            journal.append(f"block {index}", result)


def test_results_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "below" / "journal"
    written(path, "a", "b")
    with Journal(path, CONFIGURATION, resume=True) as journal:
        assert (journal.get("block 0"), journal.get("block 1"), journal.get("block 2")) == ("a", "b", None)
        assert journal.notice == f"{path}: continuing after 2 finished measurements"


def test_without_resume_a_run_begins_anew_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, "a")
    with Journal(path, CONFIGURATION, resume=False) as journal:
        assert journal.get("block 0") is None
        assert journal.notice is not None
        assert "--resume would have continued it" in journal.notice


def test_another_configuration_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, "a")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"journal: made with another configuration \(different: threads\)"):
        Journal(path, CONFIGURATION | {"threads": 2}, resume=True)
    assert path.read_bytes() == before


def test_a_configuration_with_tuples_is_found_equal_to_what_was_written_of_it(tmp_path: Path) -> None:
    configuration = {"preset": {"models": ("embedded", "other")}}
    Journal(tmp_path / "journal", configuration, resume=False).close()
    with Journal(tmp_path / "journal", configuration, resume=True) as journal:
        assert journal.notice == f"{tmp_path / 'journal'}: nothing to resume, starting anew"
        journal.append("block", 1)
    with Journal(tmp_path / "journal", configuration, resume=True) as journal:
        assert journal.get("block") == 1
    with pytest.raises(JournalError, match=r"different: preset"):
        Journal(tmp_path / "journal", {"preset": {"models": ("other",)}}, resume=True)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"torn", b'{"preset": "quick"', b"not JSON\n", b"\xff\xfe\n", b"[" * 10**6 + b"\n"),
        *(b'[1]\n["key"]\n', b"{}\n5\n", b"{}\n[[1], 2]\n"),  # entries that are no pairs, or have no key
    ],
    ids=lambda content: content[:20],
)
def test_a_file_that_is_no_journal_is_refused_or_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    if not content:
        Journal(path, CONFIGURATION, resume=True).close()
        return
    with pytest.raises(JournalError, match="not a journal of this suite"):
        Journal(path, CONFIGURATION, resume=True)


def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with Journal(path, CONFIGURATION, resume=True) as journal:
        assert (journal.get("block 0"), journal.get("block 1")) == ("a", None)
        assert journal.notice is not None
        assert "torn last line" in journal.notice
        journal.append("block 1", "b")
    assert path.read_bytes() == whole


def test_no_changed_entry_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, CONFIGURATION, resume=False) as journal:
        journal.append("block 0", {"times": [12.5, float("nan")], "failed": {}})
    whole = path.read_bytes()
    Journal(path, CONFIGURATION, resume=True).close()
    for place in range(whole.index(b"\n") + 1, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(JournalError, match="not a journal of this suite"):
            Journal(path, CONFIGURATION, resume=True).close()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_cut_anywhere_in_its_entries_it_goes_on_with_the_whole_lines(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    written(path, "a", "b", "c")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Journal(path, CONFIGURATION, resume=True) as journal:
        for index, result in enumerate("abc"):
            if journal.get(f"block {index}") is None:
                journal.append(f"block {index}", result)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_a_run_killed_in_its_first_line_is_begun_anew(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "journal"
    written(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - missing])
    with Journal(path, CONFIGURATION, resume=True) as journal:
        assert journal.notice == f"{path}: nothing to resume, starting anew"
    assert path.read_bytes() == whole


def test_a_killed_writer_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    program = textwrap.dedent(f"""
        from pathlib import Path
        from bench.record.journal import Journal
        journal = Journal(Path({str(path)!r}), {CONFIGURATION!r}, resume=False)
        for index in range(10**6):
            journal.append(f"block {{index}}", [0] * 100)
            print(index, flush=True)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        finished = [int(writer.stdout.readline()) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
    with Journal(path, CONFIGURATION, resume=True) as journal:
        assert all(journal.get(f"block {index}") == [0] * 100 for index in range(finished + 1))


def test_a_second_run_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with (
        Journal(path, CONFIGURATION, resume=False),
        pytest.raises(JournalError, match="another run is writing it"),
    ):
        Journal(path, CONFIGURATION, resume=False)


def test_a_finished_journal_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, CONFIGURATION, resume=False).finish()
    assert list(tmp_path.glob("journal")) == []


def test_it_is_removed_before_another_run_may_begin_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, CONFIGURATION, resume=False)
    there: list[bool] = []
    release = journal._lock.release

    def watched() -> None:
        there.append(path.exists())
        release()

    monkeypatch.setattr(journal._lock, "release", watched)
    journal.finish()
    assert there == [False]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["a folder", "a file/below it"])
def test_a_path_that_cannot_be_a_journal_is_one_line(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").touch()
    with pytest.raises(JournalError, match=rf"{name}: cannot be (opened|written): \w+"):
        Journal(tmp_path / name, CONFIGURATION, resume=resume)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(tmp_path / "journal", CONFIGURATION, resume=False) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match="journal: cannot be written: No space left on device"):
            journal.append("block", 1)
        assert journal.get("block") is None
