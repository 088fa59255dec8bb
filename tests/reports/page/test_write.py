import errno
import os

import pytest

from reports.errors import ReportError
from reports.page.write import write_file, write_files

OLD = {"tables/a.md": b"old", "index.html": b"old page"}
NEW = {"tables/a.md": b"new", "tables/b.md": b"new", "index.html": b"new page"}


def contents(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def report(tmp_path):
    """A directory with an earlier report and a file of the user's."""
    directory = tmp_path / "report"
    write_files(OLD, directory)
    (directory / "notes.txt").write_bytes(b"mine")
    return directory


def test_a_new_report_replaces_the_old_and_spares_the_rest(report):
    write_files(NEW, report)
    assert contents(report) == {**NEW, "notes.txt": b"mine"}
    assert sorted(os.listdir(report)) == ["index.html", "notes.txt", "tables"]


def fail_on_second(real, error):
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return real(*arguments)

    return fail


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_the_earlier_report(report, monkeypatch, error):
    before = contents(report)
    monkeypatch.setattr("reports.page.write.os.fsync", fail_on_second(os.fsync, error))
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ReportError):
        write_files(NEW, report)
    assert contents(report) == before
    assert not list(report.glob(".report-*"))


def test_a_full_disk_is_named(report, monkeypatch):
    monkeypatch.setattr("reports.page.write.os.fsync", fail_on_second(os.fsync, OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(ReportError, match="report not written: No space left"):
        write_files(NEW, report)


def test_a_failure_leaves_no_directory_that_was_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("reports.page.write.os.fsync", fail_on_second(os.fsync, OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(ReportError):
        write_files(NEW, tmp_path / "deep" / "er")
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(ReportError, match="cannot write here"):
        write_files(NEW, tmp_path / "report")
    with pytest.raises(ReportError, match="cannot write here"):
        write_files(NEW, tmp_path / "report" / "below")
    assert (tmp_path / "report").read_text() == "a file"


def test_the_page_is_the_last_to_take_its_place(tmp_path, monkeypatch):
    placed = []
    replace = os.replace
    monkeypatch.setattr("reports.page.write.os.replace", lambda a, b: (placed.append(b.name), replace(a, b)))
    write_files(NEW, tmp_path / "report")
    assert placed[-1] == "index.html"


def test_one_file_by_its_path(tmp_path):
    write_file(b"words", tmp_path / "deep" / "comment.md")
    assert contents(tmp_path) == {"deep/comment.md": b"words"}
    with pytest.raises(ReportError, match="is a directory"):
        write_file(b"words", tmp_path / "deep")
