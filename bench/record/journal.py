"""The journal: one JSON line per finished measurement, on disk before the next begins, so that nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from filelock import FileLock, Timeout

from harness.assets.files import sync_folder

_RESOLVED = "resolved"


class JournalError(Exception):
    """A journal that cannot be continued or written: one line that names the file and the reason."""


class Results(Protocol):
    """Finished measurements by their keys."""

    def get(self, key: str) -> Any | None:
        """The result under a key, or None."""

    def append(self, key: str, result: Any) -> None:
        """Keep a result."""

    def expect(self, resolved: Mapping[str, str]) -> None:
        """State what the run reads: name of a model or a text -> its checksum."""


class Unkept:
    """Results of a run in which nothing is measured: there are none."""

    def get(self, key: str) -> Any | None:
        """None."""

    def append(self, key: str, result: Any) -> None:
        """Forget it."""

    def expect(self, resolved: Mapping[str, str]) -> None:
        """Accept all."""


class Journal:
    """An append-only file. The first line is the configuration, each further one a key, a result and their CRC-32.

    Args:
        path: the file.
        configuration: what must be equal for results to be used again, as JSON has it: a tuple is a list there.
        resume: read the results of an earlier run with the same configuration; otherwise begin anew.

    Raises:
        JournalError: another run is writing the file, or nobody can; or, on `resume`, it is of another configuration or
            no journal.
    """

    def __init__(self, path: Path, configuration: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.notice: str | None = None
        self.previous = path.with_name(f"{path.name}.previous")
        self._results: dict[str, Any] = {}
        configuration = json.loads(json.dumps(configuration))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(f"{path}.lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise JournalError(f"{path}: another run is writing it; wait, or choose another file") from None
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            self._open(configuration, resume)
        except OSError as error:
            self._lock.release()
            raise JournalError(f"{path}: cannot be opened: {error.strerror}") from None
        except BaseException:
            self._lock.release()
            raise

    def _open(self, configuration: dict[str, Any], resume: bool) -> None:
        path = self.path
        content = path.read_bytes() if path.exists() else b""
        # A run that is killed in its very first line leaves a part of that.
        if resume and not _line(configuration).startswith(content):
            self._read(content, configuration)
            self._file = path.open("ab", buffering=0)
        else:
            if resume:
                self.notice = f"{path}: nothing to resume, starting anew"
            elif content.count(b"\n") > 1:
                os.replace(path, self.previous)
                kept = counted(content.count(b"\n") - 1)
                self.notice = (
                    f"{path}: an unfinished run of {kept} was here; --resume would have continued it. It is now "
                    f"{self.previous}, until the next one"
                )
            self._file = path.open("wb", buffering=0)
            self._write(configuration)
            sync_folder(path.parent)

    def get(self, key: str) -> Any | None:
        """The result under a key, or None."""
        return self._results.get(key)

    def __len__(self) -> int:
        """How many results are on the disk: an interrupt may come between a line and what is known of it here."""
        return self.path.read_bytes().count(b"\n") - 1

    def append(self, key: str, result: Any) -> None:
        """Keep a result; it is on disk when this returns."""
        self._write([key, result, _checksum(key, result)])
        self._results[key] = result

    def expect(self, resolved: Mapping[str, str]) -> None:
        """State what the run reads: name of a model or a text -> its checksum.

        Raises:
            JournalError: the results that are here were measured with something else.
        """
        known = self.get(_RESOLVED)
        if known is None:
            self.append(_RESOLVED, dict(resolved))
        elif known != resolved:
            names = [name for name in known.keys() | resolved.keys() if known.get(name) != resolved.get(name)]
            raise JournalError(
                f"{self.path}: made with another {', '.join(sorted(names))} than can be had now; restore that, or "
                "leave out --resume to start anew"
            )

    def finish(self) -> None:
        """Remove the file: all results have gone into the run's JSON."""
        self._file.close()
        # Before the lock is released: afterwards it might be another run's.
        self.path.unlink(missing_ok=True)
        self._lock.release()

    def close(self) -> None:
        """Close the file and leave it for `--resume`."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, value: Any) -> None:
        try:
            line = _line(value)
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be written: {error.strerror}") from None

    def _read(self, content: bytes, configuration: dict[str, Any]) -> None:
        complete, _, torn = content.rpartition(b"\n")
        try:
            header, *entries = [json.loads(line) for line in complete.split(b"\n")]
            results = {key: result for key, result, _ in entries}  # unpacks, and so checks, each entry
            for key, result, checksum in entries:
                if checksum != _checksum(key, result):
                    raise ValueError(f"the entry {key!r} is not as it was written")
        except (ValueError, TypeError, RecursionError) as error:
            raise JournalError(f"{self.path}: not a journal of this suite ({error}); remove it to start anew") from None
        if header != configuration:
            known = header if isinstance(header, dict) else {}
            other = sorted(
                key for key in known.keys() | configuration.keys() if known.get(key) != configuration.get(key)
            )
            raise JournalError(
                f"{self.path}: made with another configuration (different: {', '.join(other)}); "
                "repeat that run's options, or leave out --resume to start anew"
            )
        self._results = results
        self.notice = f"{self.path}: continuing after {counted(len(results))}"
        if torn:
            # The line that was being written when the run was killed.
            self.notice += ", dropping a torn last line"
            os.truncate(self.path, len(complete) + 1)


def counted(measurements: int) -> str:
    """In words."""
    return f"{measurements} finished measurement{'s' * (measurements != 1)}"


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _checksum(key: str, result: Any) -> int:
    return zlib.crc32(_line([key, result]))
