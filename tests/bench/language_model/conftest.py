"""The smallest language model, and its text."""

from __future__ import annotations

import pytest

from bench.language_model.models import LoadedModel, load_first


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return load_first(["tiny"], "cpu")
