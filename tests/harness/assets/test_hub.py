"""No hub is asked here: its address is a port of this machine that is closed, or that never answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from harness.assets import hub
from harness.assets.errors import AssetError
from harness.assets.resolve import resolve_model

COMMIT = "0123456789" * 4


@pytest.fixture(autouse=True)
def _not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def silent_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(hub, "_ANSWER_SECONDS", 0.3)
        yield


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("hub_cache", "silent_port")
def test_a_hub_that_never_answers_is_given_up_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"^some/model: no hub reachable;"):
        resolve_model("some/model")
    assert time.monotonic() - start < 5


@pytest.mark.usefixtures("hub_cache", "closed_port")
def test_no_hub() -> None:
    with pytest.raises(AssetError, match=r"^some/model: no hub reachable;"):
        resolve_model("some/model")


@pytest.mark.usefixtures("hub_cache")
def test_offline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AssetError, match="HF_HUB_OFFLINE is set"):
        resolve_model("some/model")


@pytest.mark.usefixtures("closed_port")
def test_without_a_hub_its_cache_is_used(hub_cache: Path) -> None:
    snapshot = hub_cache / "models--some--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    (hub_cache / "models--some--model" / "refs").mkdir()
    (hub_cache / "models--some--model" / "refs" / "main").write_text(COMMIT)
    asset = resolve_model("some/model")
    assert asset.path == snapshot
    assert asset.source == f"Hugging Face some/model at {COMMIT}"


def test_a_pickle_only_model_is_refused_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(rfilename=name) for name in ("config.json", "pytorch_model.bin", "sub/x.safetensors")]
    info = SimpleNamespace(sha=COMMIT, siblings=files)
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: info)
    with pytest.raises(AssetError, match="pickled weights are refused"):
        resolve_model("some/model")


def test_what_can_be_no_name_of_the_hub_is_said_to_be_none() -> None:
    with pytest.raises(
        AssetError, match=r"^\./no/such/directory: neither a directory nor a possible Hugging Face name"
    ):
        resolve_model("./no/such/directory")


@pytest.mark.usefixtures("hub_cache")
def test_a_lookup_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Looking up a host name takes no timeout, so the request's own does not end it.
    released = threading.Event()
    monkeypatch.setattr(hub, "_ANSWER_SECONDS", -0.9)
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: released.wait(20))
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"^some/model: no hub reachable;"):
        resolve_model("some/model")
    assert time.monotonic() - start < 5
    released.set()
