"""Remakes the pictures of a report that the documentation shows, where Chromium is installed.

    python docs/mkdocs/pictures.py build/report/index.html

A picture is what a window shows of the page, or of one part of it that stands there alone, in few colours, so that it
is small.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
COLOURS = 96


@dataclass(frozen=True)
class Picture:
    """A window.

    Attributes:
        part: the id of what is shown, or nothing for the page from its beginning.
        width: in CSS pixels.
        height: likewise.
    """

    part: str
    width: int
    height: int


PICTURES = {
    "page": Picture("", 1400, 900),
    "trade-offs": Picture("figure-pareto", 1180, 500),
    "latency": Picture("figure-latency", 1180, 570),
}
"""File name -> what it shows."""


def main(report: str) -> int:
    """Write all pictures of a report; returns the exit code."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    page = Path(report).resolve()
    if browser is None or not page.is_file():
        print(f"pictures: {page} and one of {', '.join(BROWSERS)} are needed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in PICTURES.items():
            shown, shot = Path(folder, f"{name}.html"), Path(folder, f"{name}.png")
            shown.write_text(_alone(page.read_text(), picture.part) if picture.part else page.read_text())
            window = f"--window-size={picture.width},{picture.height}"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}"]
            subprocess.run(
                [browser, *options, window, f"--screenshot={shot}", shown.as_uri()], check=True, capture_output=True
            )
            with Image.open(shot) as image:
                image.convert("RGB").quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)
    return 0


def _alone(page: str, part: str) -> str:
    """The page with one part of it; its policy allows its own scripts alone."""
    only = f"document.body.replaceChildren(document.getElementById('{part}')); document.body.style.padding = '16px'"
    return page.replace("Content-Security-Policy", "none", 1) + f"<script>{only}</script>"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["build/report/index.html"]))
