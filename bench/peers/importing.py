"""Others' modules, imported where they are used: a run that does not ask for them pays nothing."""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType

from bench.timing.group import CannotRunError

PACKAGES = ("transformers", "megatron-core")
"""What peers are of."""


def module_of(name: str) -> ModuleType:
    """A peer's module.

    Raises:
        CannotRunError: it cannot be imported here, for whatever reason.
    """
    try:
        return import_module(name)
    except Exception as error:  # an import runs anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotRunError(f"it cannot be imported: {said}"[:300]) from None


def versions() -> dict[str, str | None]:
    """Package -> its version, None of one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
