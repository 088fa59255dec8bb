"""Real GPTQ models, in a process of their own: its libraries stay loaded, and they change transformers and PEFT."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from harness.language_models.gptq.libraries import LIBRARIES
from harness.language_models.gptq.load import load_quantised, quantise
from tests.harness.tiny_models import tiny_model

MakeFloat = Callable[..., Any]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked_for = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"GPTQ: {', '.join(missing)} not installed, see the extra `gptq`; `tox run -e gptq` has it"
    elif not all(path.is_relative_to(HERE) for path in asked_for):
        reason = "GPTQ: in a process of its own, `pytest tests/gptq`; its libraries change transformers"
    else:
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason=reason))


def _make_float(directory: Path, **changes: Any) -> Any:
    """A small Qwen2-MoE with random weights, on disk too; its second layer is dense."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 3}
    sizes |= {"shared_expert_intermediate_size": 64, "mlp_only_layers": [1]} | changes
    # All four heads together are as wide as the model: the groups of what is quantised divide both.
    model = tiny_model(std=0.1, **sizes, head_dim=sizes["hidden_size"] // 4)
    model.save_pretrained(directory)
    return model


@pytest.fixture(scope="session")
def make_float() -> MakeFloat:
    """(directory, changes to the configuration) -> a float model that was saved there."""
    return _make_float


@pytest.fixture(scope="session")
def float_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "float"
    _make_float(directory)
    words = {f"w{number}": number for number in range(60)} | {"?": 60}
    tokenizer = Tokenizer(WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def quantised_directory(float_directory: Path) -> Path:
    directory = float_directory.with_name("quantised")
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 61, (length,), generator=generator) for length in (24, 32, 11, 32, 17, 32, 32, 12)]
    quantise(float_directory, directory, texts, group_size=32)
    return directory


@pytest.fixture(scope="session")
def lasting_model(quantised_directory: Path) -> Any:
    """For tests that leave it as it was: loading takes a second."""
    return load_quantised(quantised_directory)


@pytest.fixture
def model(quantised_directory: Path) -> Any:
    return load_quantised(quantised_directory)
