"""The pages that are looked at, and how each is made from documents, by the commands that a user gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.browser import documents
from tests.browser.documents import Document

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Site:
    """A page and how it is made.

    Attributes:
        words: (a folder, where it leaves files) -> what follows `python -m reports`, but where the page goes.
        built: the page, where something else makes it; it may read other files of its folder.
    """

    words: Callable[[Path], Sequence[str]] = lambda _: ()
    built: Path | None = None


def _reads(make: Callable[[], Sequence[Document]], *command: str) -> Site:
    """A command on files, one a document."""
    return Site(lambda folder: [*command, *_written(folder, make())])


def _written(folder: Path, made: Sequence[Document]) -> list[str]:
    paths = [folder / f"{number:02}.json" for number in range(len(made))]
    for path, document in zip(paths, made, strict=True):
        path.write_text(json.dumps(document), encoding="utf-8")
    return list(map(str, paths))


def _history(folder: Path) -> Sequence[str]:
    stored = folder / "stored"
    stored.mkdir()
    _written(stored, documents.stored_runs())
    return ["history", str(stored)]


def _traces(folder: Path) -> Sequence[str]:
    for name, seed in (("trace", 0), ("other", 1)):
        np.save(folder / f"{name}.npy", documents.selected_experts(seed))
    domains = [documents.HOSTILE[token % 3] for token in range(len(documents.selected_experts(0)))]
    (folder / "domains.json").write_text(json.dumps(domains), encoding="utf-8")
    others = ["--against", str(folder / "other.npy"), "--domains", str(folder / "domains.json"), "--ranks", "2"]
    return ["traces", str(folder / "trace.npy"), *others]


REPORTS = ("whole", "one", "forty", "hostile")
"""Those that are reports, whose first screen answers."""

SITES = {
    "whole": _reads(documents.whole),
    "one": _reads(documents.one_router),
    "forty": _reads(documents.forty_routers),
    "hostile": _reads(documents.hostile),
    "compare": _reads(documents.two_runs, "compare"),
    "gate": _reads(documents.gate, "gate"),
    "history": Site(_history),
    "traces": Site(_traces),
    "documentation": Site(built=ROOT / "build" / "site" / "index.html"),
}


class Builder:
    """Makes pages in processes of their own, two at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(2)
        self._pages: dict[str, Future[Path]] = {}

    def begin(self, names: Sequence[str]) -> None:
        """Makes these in the background, in this order."""
        for name in names:
            if name not in self._pages and not SITES[name].built:
                self._pages[name] = self._pool.submit(self._build, name)

    def page(self, name: str) -> Path:
        """The path of a page, once it is made; a test of one that something else makes is skipped where it is not."""
        if built := SITES[name].built:
            if not built.exists():
                pytest.skip(f"no {built.relative_to(ROOT)}: tox run -e docs builds it")
            return built
        self.begin([name])
        return self._pages[name].result()

    def close(self) -> None:
        """Makes none of those that nobody has waited for."""
        self._pool.shutdown(cancel_futures=True)

    def _build(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        command = [sys.executable, "-m", "reports", *SITES[name].words(folder), "-o", str(folder / "out")]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        page = folder / "out" / "index.html"
        assert page.exists(), done.stderr
        return page
