"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A test says nothing about time: on a busy machine any example may take longer than hypothesis would allow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
