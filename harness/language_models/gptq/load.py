"""GPTQ: Qwen2-MoE models whose linear layers are integers of few bits, made on the CPU, and loaded whole or refused."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from harness.assets.config_checks import LOCAL_ONLY, check_implementations
from harness.assets.errors import AssetError
from harness.hf_logging import log_errors_only
from harness.language_models.gptq.checkpoint import (
    CONFIG,
    MODEL_TYPE,
    QUANTIZATION,
    Checkpoint,
    check_quantised,
    read_checkpoint,
)
from harness.language_models.gptq.libraries import defused, import_libraries, suppress_output

if TYPE_CHECKING:  # for its type alone; it takes three seconds to import
    from transformers import PreTrainedModel

_SIZES = ("hidden_size", "moe_intermediate_size", "shared_expert_intermediate_size")
"""The input sizes of the layers that become integers."""

SHORTEST = 11
"""Tokens of a calibration text: gptqmodel leaves out shorter ones, whatever it is told. Join short lines."""


def load_quantised(directory: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A GPTQ model on the CPU, in evaluation mode and frozen, ready for `replace_routers` and for LoRA.

    Each expert's layers are modules that hold integers; the gates are floats. transformers by itself would leave the
    experts random and mention it in a log. So nothing may be missing here, and nothing left over but biases of zero,
    which GPTQ's first tool wrote for layers that have none. transformers is as before afterwards: another Qwen2-MoE
    made in the process has its usual blocks.

    Args:
        directory: with config.json, whose `quant_method` is gptq, and safetensors.
        dtype: of what is no integer, and of the computation.

    Raises:
        AssetError: the extra is not installed, or the model is not GPTQ, not whole, damaged or pickled.
    """
    checkpoint = read_checkpoint(Path(directory))
    check_implementations(checkpoint.directory / CONFIG, checkpoint.config)
    check_quantised(checkpoint)
    import_libraries(str(directory))
    with suppress_output(), log_errors_only(), defused(MODEL_TYPE):
        model, report = _from_pretrained(checkpoint, dtype)
    _refuse_differences(checkpoint, report)
    for module in model.modules():
        # gptqmodel put torch.compile around this method of every layer, which costs seconds each at its first call.
        vars(module).pop("dequantize_weight", None)
    # Zero points are in the second format now. The label has to say so, or what is saved from here is read wrongly.
    model.config.quantization_config.format = "gptq_v2"
    return cast("PreTrainedModel", model.eval().requires_grad_(False))


def quantise(
    directory: str | Path, target: str | Path, calibration: Sequence[Tensor], *, bits: int = 4, group_size: int = 128
) -> None:
    """Write a GPTQ version of a float model: attention, shared and routed experts as integers, the rest in float16.

    The rest is the gates, embeddings, norms, the head, and the feed-forward networks of layers without experts.

    It is made on the CPU, and appears at `target` in one step or not at all.

    Args:
        directory: a Qwen2-MoE model as `save_pretrained` wrote it; its tokenizer, if there is one, is copied.
        target: a directory that does not exist yet.
        calibration: (S,) int64 each, S at least 11: the token ids of texts like those that the model will see.
        bits: of an integer: 2, 3, 4 or 8.
        group_size: so many input features share a scale; a divisor of all input sizes.

    Raises:
        ValueError: an argument.
        AssetError: the extra is not installed, the model is of another type, damaged or pickled, or the target exists
            or cannot be written.
    """
    checkpoint, target = read_checkpoint(Path(directory)), Path(target)
    check_implementations(checkpoint.directory / CONFIG, checkpoint.config)
    if QUANTIZATION in checkpoint.config:
        raise AssetError(f"{checkpoint.directory / CONFIG}: it has a {QUANTIZATION}, expected a float model")
    _check_arguments(checkpoint.config, calibration, bits, group_size)
    if target.exists():
        raise AssetError(f"{target}: exists already, expected a directory that is still to be made")
    import_libraries(str(directory))
    work = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(work, ignore_errors=True)
        with suppress_output(), defused(MODEL_TYPE):
            _quantise_into(work, checkpoint, calibration, bits, group_size)
        os.replace(work, target)
    except OSError as error:
        raise AssetError(f"{target}: {error.strerror or _line(error)} ({error.filename or work})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _from_pretrained(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(checkpoint.directory, **LOCAL_ONLY)
        config.quantization_config |= {
            # The other kernels repack their integers at the first evaluation, and give no gradients from then on.
            "backend": "gptq_torch",
            "modules_in_block_to_quantize": [checkpoint.quantised_paths],
        }
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.directory,
            config=config,
            dtype=dtype,
            device_map="cpu",
            use_safetensors=True,
            output_loading_info=True,
            # Or it would only say that some shape is wrong; `_refuse_differences` says which.
            ignore_mismatched_sizes=True,
            **LOCAL_ONLY,
        )
    except Exception as error:  # whatever a value of the configuration makes one of four libraries raise
        kind = type(error).__name__
        raise AssetError(f"{checkpoint.directory}: cannot be loaded ({kind}: {_line(error)})") from error
    model, report = loaded
    return model, report


def _refuse_differences(checkpoint: Checkpoint, report: Mapping[str, Any]) -> None:
    different = {
        "missing": report["missing_keys"],
        "of another shape": [key for key, *_ in report["mismatched_keys"]],
        "unknown to the model": [
            key for key in report["unexpected_keys"] if not (key.endswith(".bias") and checkpoint.is_zero(key))
        ],
        "not loaded": report["error_msgs"],
    }
    found = [f"{len(keys)} tensors {kind}, such as {min(map(str, keys))}" for kind, keys in different.items() if keys]
    if found:
        raise AssetError(f"{checkpoint.directory}: {'; '.join(found)}")


def _check_arguments(config: Mapping[str, Any], calibration: Sequence[Tensor], bits: int, group_size: int) -> None:
    if bits not in (2, 3, 4, 8):
        raise ValueError(f"bits is {bits}, expected 2, 3, 4 or 8")
    for size in (*_SIZES, "vocab_size"):
        if not isinstance(config.get(size), int):
            raise AssetError(f"{CONFIG}: its {size} is {config.get(size)!r}, expected a number")
    for size in _SIZES:
        if group_size < 1 or config[size] % group_size:
            raise ValueError(f"group_size is {group_size}, expected a divisor of {size}, which is {config[size]}")
    if not calibration:
        raise ValueError("calibration is empty, expected the token ids of at least one text")
    for ids in calibration:
        if ids.ndim != 1 or len(ids) < SHORTEST or ids.dtype != torch.int64:
            raise ValueError(f"calibration has {ids.dtype} {tuple(ids.shape)}, expected int64 (S,), S >= {SHORTEST}")
        lowest, highest = int(ids.min()), int(ids.max())
        if lowest < 0 or highest >= config["vocab_size"]:
            expected = f"expected 0 to {config['vocab_size'] - 1}"
            raise ValueError(f"calibration has tokens {lowest} to {highest}, {expected}")


def _quantise_into(
    work: Path, checkpoint: Checkpoint, calibration: Sequence[Tensor], bits: int, group_size: int
) -> None:
    gptqmodel: Any = importlib.import_module("gptqmodel")
    settings = gptqmodel.QuantizeConfig(
        bits=bits, group_size=group_size, sym=True, desc_act=False, offload_to_disk=False
    )
    model = gptqmodel.GPTQModel.load(str(checkpoint.directory), settings, device="cpu", dtype=torch.float16)
    texts = [{"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]} for ids in calibration]
    # Layers without experts stay floats; strictly taken, they would be an error.
    model.layer_modules_strict = False
    model.quantize(texts, batch_size=1)
    model.save(str(work))
    # It makes up a tokenizer where there is none, and token ids in the configuration to go with it.
    for path in work.glob("*token*"):
        path.unlink()
    for path in checkpoint.directory.iterdir():
        if path.is_file() and re.match(r".*token.*|vocab\.|merges\.|chat_template\.", path.name):
            shutil.copy(path, work)
    made = json.loads((work / CONFIG).read_text())
    content = checkpoint.config | {QUANTIZATION: made[QUANTIZATION], "dtype": "float16"}
    (work / CONFIG).write_text(json.dumps(content, indent=2))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
