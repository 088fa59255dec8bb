"""The files of a Qwen2-MoE checkpoint, float or GPTQ, checked before anything is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from harness.assets.errors import AssetError
from harness.assets.files import pickles_in

MODEL_TYPE = "qwen2_moe"
FORMATS = ("gptq", "gptq_v2")
"""The formats of stored zero points: less one, or as they are."""

CONFIG = "config.json"
QUANTIZATION = "quantization_config"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk.

    Attributes:
        directory: where.
        config: its config.json.
        files: key of a tensor -> the file that has it.
    """

    directory: Path
    config: dict[str, Any]
    files: dict[str, Path]

    @property
    def quantised_paths(self) -> list[str]:
        """Paths within a layer of the linear layers that are integers, such as `mlp.experts.0.up_proj`."""
        found = (re.fullmatch(r"model\.layers\.\d+\.(.+)\.qweight", key) for key in self.files)
        return sorted({match[1] for match in found if match})

    def is_zero(self, key: str) -> bool:
        """Whether all of a tensor's elements are zero."""
        with safe_open(self.files[key], framework="pt") as file:
            return not file.get_tensor(key).any()


def read_checkpoint(directory: Path) -> Checkpoint:
    """Look through a model.

    Raises:
        AssetError: another kind of model, or a file that is missing, damaged or a pickle.
    """
    config = _read_json(directory / CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        raise AssetError(f"{directory / CONFIG}: model_type is {config.get('model_type')!r}, expected {MODEL_TYPE!r}")
    return Checkpoint(directory, config, {key: file for file in _weight_files(directory) for key in _keys(file)})


def check_quantised(checkpoint: Checkpoint) -> None:
    """Refuse a model that is not GPTQ's.

    Raises:
        AssetError: it is not, or in a format that is not known.
    """
    path, quantization = checkpoint.directory / CONFIG, checkpoint.config.get(QUANTIZATION)
    if not isinstance(quantization, dict):
        raise AssetError(f"{path}: not a GPTQ checkpoint, it has no {QUANTIZATION}")
    if quantization.get("quant_method") != "gptq":
        raise AssetError(f"{path}: quant_method is {quantization.get('quant_method')!r}, expected 'gptq'")
    form = quantization.get("checkpoint_format", quantization.get("format", FORMATS[0]))
    if form not in FORMATS:
        raise AssetError(f"{path}: checkpoint_format is {form!r}, expected {' or '.join(map(repr, FORMATS))}")
    if not checkpoint.quantised_paths:
        raise AssetError(f"{checkpoint.directory}: not a GPTQ checkpoint, no layer has a qweight")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise AssetError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path}: damaged, no JSON ({error})") from error
    if not isinstance(content, dict):
        raise AssetError(f"{path}: damaged, expected a JSON object")
    return content


def _weight_files(directory: Path) -> list[Path]:
    """One, or those that the index names."""
    if not (directory / _INDEX).exists():
        if not (directory / _WEIGHTS).is_file():
            raise AssetError(f"{directory / _WEIGHTS}: there is no such file{pickles_in(directory)}")
        return [directory / _WEIGHTS]
    weight_map = _read_json(directory / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AssetError(f"{directory / _INDEX}: damaged, expected a weight_map of keys to files")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name or Path(name).suffix != ".safetensors":
            raise AssetError(f"{directory / _INDEX}: names {name!r}, expected safetensors files beside it")
    return [directory / name for name in names]


def _keys(file: Path) -> list[str]:
    # Reads the header, and compares the file's length with it.
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{file}: no whole safetensors file ({' '.join(str(error).split())})") from error
