"""The smallest language model, and its text."""

from __future__ import annotations

import pytest

from bench.language_model.models import Loaded, Reader, load_first


@pytest.fixture(scope="session")
def loaded() -> Loaded:
    return load_first(["tiny"], "cpu")


@pytest.fixture(scope="session")
def reader(loaded: Loaded) -> Reader:
    return Reader(loaded)
