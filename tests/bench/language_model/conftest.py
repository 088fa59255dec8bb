"""The smallest language model, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from bench.language_model.models import LoadedModel, load_first
from harness.text.passages import load_passages

read_once = cache(load_passages)


@pytest.fixture(autouse=True, scope="module")
def text_is_read_once() -> Iterator[None]:
    """Each model that is loaded reads all of Shakespeare for a few of its lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.language_model.models.load_passages", read_once)
        yield


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return load_first(["tiny"], "cpu")
