"""What is pinned of the package index, and pip, which knows where that is."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

from harness.assets.errors import AssetError


@dataclass(frozen=True)
class PinnedPackage:
    """One file of the package index.

    Attributes:
        name: the project's name there.
        version: the version.
        sha256: of the file.
        size: in bytes, for the progress bar.
        wheel: False for an sdist.
    """

    name: str
    version: str
    sha256: str
    size: int
    wheel: bool = True

    @property
    def file_prefix(self) -> str:
        """The beginning of the file's name, once `_` stands for `-`: builders spell a project's name either way."""
        return f"{self.name}_{self.version}".replace("-", "_").lower()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def need_pip(names: str) -> None:
    """Refuses an interpreter without pip.

    Raises:
        AssetError: it has none; the line begins with what was to be fetched.
    """
    if importlib.util.find_spec("pip") is None:
        raise AssetError(f"{names}: pip is missing from {sys.executable}; `python -m ensurepip` installs it")
