"""The smallest language model, and its text."""

from __future__ import annotations

import pytest

from bench.language_model.models import LoadedModel, TextReader, load_first


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return load_first(["tiny"], "cpu")


@pytest.fixture(scope="session")
def reader(loaded: LoadedModel) -> TextReader:
    return TextReader(loaded)
