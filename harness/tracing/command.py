"""The command line: python -m harness trace --model embedded --text shakespeare -o trace.safetensors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.assets.errors import AssetError
from harness.command_line import most_threads, parse
from harness.hf_logging import log_errors_only
from harness.language_models.load import list_language_models, load_language_model, resolve_language_model
from harness.saving.routers import load_routers
from harness.text.texts import list_texts, resolve_text
from harness.tracing.record import record_routing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MISTAKE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Records a trace; returns the exit code."""
    options = parse(_parser(), sys.argv[1:] if arguments is None else arguments)
    try:
        return _trace(options)
    except (ValueError, AssetError, OSError) as error:
        print(f"trace: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("trace: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED


def _trace(options: argparse.Namespace) -> int:
    for name, least in (("tokens", 1), ("length", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}, expected at least {least}")
    if options.threads is not None:
        if not 1 <= options.threads <= most_threads():
            raise ValueError(f"threads is {options.threads}, expected 1 to {most_threads()}")
        torch.set_num_threads(options.threads)
    if options.output.suffix != ".safetensors":
        raise ValueError(f"-o is {str(options.output)!r}, expected a name that ends in .safetensors")
    texts = {label: _text(name) for label, name in _labels(options.text or ["shakespeare"]).items()}
    language_model = load_language_model(resolve_language_model(options.model))
    model = language_model.model
    if options.routers:
        load_routers(model, options.routers)
    windows, domains = [], []
    for label, text in texts.items():
        found = _windows(language_model.tokenizer, text, options.tokens, options.length)
        windows += found
        domains += [label] * len(found)
    recorded = record_routing(
        model, windows, path=options.output, logits=options.logits, domains=domains if len(texts) > 1 else None
    )
    tokens, layers, top_k = recorded.experts.shape
    print(
        f"wrote {options.output}: {tokens:,} tokens, {layers} layers, {top_k} of {recorded.num_experts} experts; "
        "python -m reports traces shows it"
    )
    return 0


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Label of each text -> its name: the name without folders and suffix, or as it is where two would be alike."""
    labels = {name: Path(name).stem for name in dict.fromkeys(names)}
    return {label if list(labels.values()).count(label) == 1 else name: name for name, label in labels.items()}


def _text(name: str) -> str:
    if name in list_texts():
        return resolve_text(name).text
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name}: no such file, and no text of that name; there are {', '.join(list_texts())}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: no text in UTF-8: {error.reason}") from None


def _windows(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int, length: int) -> list[Tensor]:
    """The first tokens of a text in windows of a length; the last may be shorter."""
    # A token is a character at least: what lies far behind the last one that is wanted need not be encoded.
    with log_errors_only():  # it would say that the text is longer than the model reads at once
        ids = tokenizer(text[: 32 * tokens], add_special_tokens=False, return_attention_mask=False)["input_ids"]
    ids = ids[:tokens]
    if not ids:
        raise ValueError("a text has no token")
    found = torch.tensor(ids, dtype=torch.int64)
    return [found[start : start + length] for start in range(0, len(found), length)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness trace",
        description="Record which experts a Mixture-of-Experts language model sends each token of a text to. Exit "
        "codes: 0 recorded; 2 a mistake, said in one line; 130 interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    models = ", ".join(list_language_models())
    parser.add_argument("--model", default="embedded", help=f"{models}, a directory, or a name on the hub")
    parser.add_argument("--routers", metavar="DIR", help="saved routers to put in place of the model's own")
    parser.add_argument(
        "--text",
        action="append",
        metavar="FILE",
        help=f"a text file, or {' or '.join(list_texts())}; each of several is a domain (shakespeare)",
    )
    parser.add_argument("--tokens", type=int, default=4096, help="how many tokens of each text")
    parser.add_argument("--length", type=int, default=256, help="tokens that are read as one sequence")
    parser.add_argument("--logits", action="store_true", help="record router logits too")
    parser.add_argument("--threads", type=int, help="torch's threads")
    output = Path("build/trace.safetensors")
    parser.add_argument("-o", "--output", type=Path, default=output, metavar="FILE", help="where")
    return parser
