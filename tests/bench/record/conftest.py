"""Runs of `pytest bench`, and the folder of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench.record.runs import Files, Zygote, copy_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def zygote(sources: Path) -> Iterator[Zygote]:
    with closing(Zygote(sources, sources / "output")) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def other_zygote(sources: Path) -> Iterator[Zygote]:
    """For a second run at once."""
    with closing(Zygote(sources, sources / "other-output")) as zygote:
        yield zygote


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)
