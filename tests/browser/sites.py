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

from tests.browser import documents
from tests.browser.documents import Document

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Site:
    """A page and what it is made of.

    Attributes:
        make: the documents that the command reads.
        words: (their files, a folder) -> what follows `python -m reports`.
        page: the page's name in that folder.
        offline_folder: whether the page may read other files of its folder; else it is one file that needs none.
    """

    make: Callable[[], Sequence[Document]]
    words: Callable[[Sequence[str], str], Sequence[str]] = lambda files, folder: (*files, "-o", folder)
    page: str = "index.html"
    offline_folder: bool = False


SITES = {
    "whole": Site(documents.whole),
    "one": Site(documents.one_router),
    "forty": Site(documents.forty_routers),
    "hostile": Site(documents.hostile),
    "traces": Site(
        documents.traces,
        lambda files, folder: ("traces", files[0], "--against", files[1], "--domains", files[2], "-o", folder),
    ),
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
            if name not in self._pages:
                self._pages[name] = self._pool.submit(self._build, name)

    def page(self, name: str) -> Path:
        """The path of a page, once it is made."""
        self.begin([name])
        return self._pages[name].result()

    def close(self) -> None:
        """Makes none of those that nobody has waited for."""
        self._pool.shutdown(cancel_futures=True)

    def _build(self, name: str) -> Path:
        site, folder = SITES[name], self._folder / name
        folder.mkdir()
        files = []
        for number, document in enumerate(site.make()):
            files.append(str(folder / f"{number}.json"))
            Path(files[-1]).write_text(json.dumps(document), encoding="utf-8")
        command = [sys.executable, "-m", "reports", *site.words(files, str(folder / "out"))]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return folder / "out" / site.page
