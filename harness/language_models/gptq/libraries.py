"""The libraries of the extra `gptq`, kept from changing more of the process than has to be."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from harness.assets.errors import AssetError

LIBRARIES = ("gptqmodel", "optimum", "defuser")
"""optimum too: without it PEFT refuses every LoRA, of any model, as soon as gptqmodel is installed."""

ENVIRONMENT = {
    # By default it takes one worker on two cores, and fails when it divides it.
    "GPTQMODEL_CPU_WORKERS": "2",
    # It would compile an extension first, which takes longer than to pack a small model.
    "GPTQMODEL_DISABLE_PACK_EXT": "1",
}
"""The variables that gptqmodel reads from the environment. Those that the user has set go first."""


def import_libraries(wanted_for: str) -> dict[str, Any]:
    """The libraries by name. What importing them sets for the whole process is set back.

    Raises:
        AssetError: one is not installed.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        install = "pip install -e '.[gptq]' -c constraints-gptq.txt"
        raise AssetError(f"{wanted_for}: GPTQ needs {' and '.join(missing)}; {install}")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from huggingface_hub.constants import HF_HOME

    environment, root = dict(os.environ), logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        # One of them moves the hub's cache below /tmp where no variable says where it is.
        os.environ.setdefault("HF_HOME", HF_HOME)
        with suppress_output():
            return {name: importlib.import_module(name) for name in LIBRARIES}
    finally:
        os.environ.clear()
        os.environ.update(environment)
        root.setLevel(level)
        root.handlers[:] = handlers


@contextmanager
def suppress_output() -> Iterator[None]:
    """Progress goes to stderr; banners, tables and what the libraries warn of in one another are not shown."""
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def defused(model_type: str) -> Iterator[None]:
    """Lets models be made whose experts are modules one by one, not two large tensors: GPTQ takes modules alone.

    defuser changes transformers for the whole process; here that ends with the block, and the models stay.

    Raises:
        AssetError: defuser does not know the model.
    """
    names = (f"models.{model_type}.modeling_{model_type}", "conversion_mapping", "modeling_utils")
    modules = [importlib.import_module(f"transformers.{name}") for name in names]
    before = [dict(vars(module)) for module in modules]
    try:
        if not importlib.import_module("defuser").replace_fused_blocks(model_type):
            raise AssetError(f"{model_type}: defuser cannot take its experts apart in this version of transformers")
        yield
    finally:
        for module, attributes in zip(modules, before, strict=True):
            for name in vars(module).keys() - attributes.keys():
                delattr(module, name)
            vars(module).update(attributes)
