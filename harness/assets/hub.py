"""A model of the Hugging Face hub or of its local cache: safetensors only, and quick to say that there is no hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from harness.assets.errors import AssetError
from harness.assets.memory import StoredTensor

_PATTERNS = ["*.json", "*.txt", "*.safetensors"]
# `*` matches slashes too: without this, weights converted for other runtimes would come along.
_SUBFOLDERS = ["*/*"]
_ANSWER_SECONDS = 5.0


@dataclass
class _Answer:
    """The hub's answer about a model: its newest commit and file names, or the error."""

    commit: str | None = None
    files: tuple[str, ...] = ()
    error: Exception | None = None


def hub_snapshot(name: str, *, admit: Callable[[Iterable[StoredTensor]], None] | None = None) -> Path:
    """The directory of the model's newest files, downloaded or from the hub's local cache.

    Args:
        name: owner/model.
        admit: is given the headers of the weights before they are downloaded, and raises if they are not wanted.

    Raises:
        AssetError: no such name, no access, no safetensors, or no hub and nothing cached.
    """
    answer = _ask(name)
    if isinstance(answer.error, HFValidationError):
        raise AssetError(f"{name}: neither a directory nor a possible Hugging Face name") from answer.error
    if isinstance(answer.error, GatedRepoError):
        raise AssetError(f"{name}: the hub asks for a login that has access") from answer.error
    if isinstance(answer.error, RepositoryNotFoundError):
        raise AssetError(f"{name}: the hub has no such public model") from answer.error
    commit = answer.commit
    if commit and not any(file.endswith(".safetensors") and "/" not in file for file in answer.files):
        raise AssetError(f"{name}: the hub's model has no *.safetensors; pickled weights are refused")
    if commit and admit:
        admit(_headers(name, commit))
    try:
        return Path(
            snapshot_download(
                name,
                revision=commit,
                local_files_only=commit is None,
                allow_patterns=_PATTERNS,
                ignore_patterns=_SUBFOLDERS,
                etag_timeout=_ANSWER_SECONDS,
            )
        )
    except LocalEntryNotFoundError as error:
        offline = isinstance(answer.error, OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set and the hub's cache has no complete copy" if offline else "no hub reachable"
        raise AssetError(f"{name}: {reason}") from error
    except Exception as error:  # the transport's own errors, whichever library carries them
        raise AssetError(f"{name}: the download from the hub failed ({_first_line(error)})") from error


def _headers(name: str, commit: str) -> list[StoredTensor]:
    try:
        files = HfApi().get_safetensors_metadata(name, revision=commit).files_metadata
    except Exception as error:  # the transport's own errors, and the hub's for files it cannot read
        raise AssetError(f"{name}: the hub does not give the sizes of its weights ({_first_line(error)})") from error
    return [
        StoredTensor(tensor, info.dtype, tuple(info.shape))
        for file in files.values()
        for tensor, info in file.tensors.items()
    ]


def _ask(name: str) -> _Answer:
    answer = _Answer(error=TimeoutError("no answer in time"))

    def ask() -> None:
        try:
            info = HfApi().model_info(name, timeout=_ANSWER_SECONDS)
            answer.files = tuple(sibling.rfilename for sibling in info.siblings or ())
            answer.commit, answer.error = info.sha, None
        except Exception as error:  # no network, no proxy, a hub that is down: all mean "ask the cache"
            answer.error = error

    # In a thread, because looking up a host name has no timeout of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS + 1)
    return answer


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
