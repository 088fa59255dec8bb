"""The system's Chromium: playwright's own downloads are not needed, and not every machine can have them."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs that are looked for, in this order, where the environment variable CHROMIUM names none."""

MISSING = (
    "no Chromium: install Debian's or Ubuntu's package chromium, or Google Chrome, or set CHROMIUM to the path of one"
)


def find_chromium() -> str | None:
    """Path of the program, or None where there is none; what CHROMIUM names has to exist."""
    if named := os.environ.get("CHROMIUM"):
        found = shutil.which(named)
        if found is None:
            raise ValueError(f"CHROMIUM is {named!r}, expected the path of a Chromium or Chrome that can be run")
        return found
    return next((path for name in NAMES if (path := shutil.which(name))), None)
