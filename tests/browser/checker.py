"""The Nu Html Checker, the W3C's own, on files: HTML, the CSS in it, SVG and ARIA."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

JAR = "MOE_HTML_CHECKER"
"""Environment variable with the path of vnu.jar; `tox run -e browser` sets it."""


def missing() -> str | None:
    """Why pages cannot be checked here, or None."""
    if shutil.which("java") is None:
        return "the HTML checker needs Java 17 or newer: install Debian's or Ubuntu's package default-jre-headless"
    if not Path(os.environ.get(JAR, "")).is_file():
        return f"no HTML checker: tox run -e browser installs it where there is npm; else {JAR} is the path of vnu.jar"
    return None


def errors(pages: Sequence[Path]) -> dict[Path, list[str]]:
    """Page -> its errors, one line each, of one start of Java for all pages."""
    command = ["java", "-jar", os.environ[JAR], "--errors-only", "--exit-zero-always", "--format", "json", *pages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[Path, list[str]] = {page: [] for page in pages}
    for message in json.loads(done.stderr)["messages"]:
        page = Path(message["url"].removeprefix("file:"))
        found[page].append(f"line {message.get('lastLine')}: {message['message']} {message.get('extract', '')!r}")
    return found
