"""What holds for all tests."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import settings

# A test says nothing about time: on a busy machine any example may take longer than hypothesis would allow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand whole files to the workers of `--dist loadgroup`."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.distribution import LongestFirst

    return LongestFirst(config, log)


def pytest_collection_finish() -> None:
    """Leave what was imported out of every collection of garbage, which would go through half a million objects."""
    gc.freeze()
