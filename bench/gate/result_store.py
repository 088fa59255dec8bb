"""The store of finished measurements, from which an interrupted gate run continues."""

from __future__ import annotations

from typing import Any, Protocol


class ResultStore(Protocol):
    """A store of results by key; `bench.record.journal.Journal` is one."""

    def get(self, key: str) -> Any | None:
        """The result under a key, or None."""

    def append(self, key: str, result: Any) -> None:
        """Keep a result; it is on disk when this returns."""


class PrefixedStore:
    """One trial's part of a store: its keys begin with the trial's name. A `ResultStore`."""

    def __init__(self, store: ResultStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def get(self, key: str) -> Any | None:
        """The trial's result under a key, or None."""
        return self._store.get(f"{self._prefix} | {key}")

    def append(self, key: str, result: Any) -> None:
        """Keep a result of the trial."""
        self._store.append(f"{self._prefix} | {key}", result)
