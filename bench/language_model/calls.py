"""Calls inside a language model, made ready in a process that loads the model into memory of its own."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cached_property

from bench.case import Case
from bench.language_model.checked import make_ready
from bench.language_model.models import LoadedModel, load_first
from bench.language_model.scenarios import get_language_model_scenario
from bench.presets import Preset
from bench.timing.group import PreparedCall
from harness.assets.errors import RefusedAssetError


class LanguageModelCalls:
    """Makes calls ready, each in a copy of the model that shares its weights.

    Args:
        preset: sizes.
        names: of the language model that was checked; see `load_first`.
        identity: of its asset when it was checked, see `ModelAsset.identity`.
        device: where to put it.
    """

    def __init__(self, preset: Preset, names: Sequence[str], identity: str, device: str) -> None:
        self._preset = preset
        self._names = names
        self._identity = identity
        self._device = device

    def ready(self, case: Case) -> PreparedCall:
        """A copy with routers of the run's seed, and the call of its scenario."""
        return make_ready(case.router, get_language_model_scenario(case.scenario), self._loaded, self._preset)

    @cached_property
    def _loaded(self) -> LoadedModel:
        loaded = load_first(self._names, self._device)
        if loaded.asset.identity() != self._identity:
            raise RefusedAssetError(f"{self._names[0]}: changed while the run was going on")
        # As loaded they may be a file, mapped: its pages stay where they are from process to process.
        for tensor in (*loaded.model.parameters(), *loaded.model.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = tensor.data.clone()
        gc.freeze()  # the model and what it is made of stay: no collection before a block has to go through them
        return loaded
