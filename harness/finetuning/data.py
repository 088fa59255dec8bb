"""The model, the text and the settings that all runs of a fine-tuning share. Axes: S sequence."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.assets.fetch import file_sha256
from harness.assets.resolve import ModelAsset
from harness.finetuning.settings import FinetuneError, FinetuneSettings, RunSpec
from harness.language_models.load import LanguageModel
from harness.replacement.calibration import Calibration
from harness.replacement.moe_blocks import STOCK
from harness.text.passages import Passages, encode_lines, encode_windows
from routers import get_router_class

CALIBRATION_LENGTH = 64


@dataclass(frozen=True)
class FinetuneData:
    """The data and settings that all runs of a fine-tuning share.

    Attributes:
        asset: the model.
        passages: the text.
        settings: how to train.
    """

    asset: ModelAsset
    passages: Passages
    settings: FinetuneSettings
    _calibration: list[Calibration] = field(default_factory=list, repr=False, compare=False)

    def train(self, language_model: LanguageModel) -> list[Tensor]:
        """The token ids of the lines to train on.

        Raises:
            FinetuneError: the text has fewer.
        """
        lines, count = self.passages.train, self.settings.train_lines
        if len(lines) < count:
            raise FinetuneError(f"train_lines is {count}, the text has {len(lines)}")
        return encode_lines(language_model.tokenizer, lines[:count], max_length=self.settings.max_length)

    def held_out(self, language_model: LanguageModel) -> list[Tensor]:
        """The token ids of the passages that perplexity is taken on.

        Passages and not lines: of a line without what comes before it any model knows little.
        """
        text, count = self.passages.held_out_text, self.settings.held_out_windows
        return self._windows("held_out_windows", language_model, text, self.settings.max_length, count)

    def calibration(self, language_model: LanguageModel) -> Calibration:
        """The calibration of the model's own gates, computed once for all runs."""
        if not self._calibration:
            text, count = self.passages.calibration_text, self.settings.calibration_windows
            windows = self._windows("calibration_windows", language_model, text, CALIBRATION_LENGTH, count)
            self._calibration.append(Calibration(windows))
        return self._calibration[0]

    def _windows(self, name: str, language_model: LanguageModel, text: str, length: int, count: int) -> list[Tensor]:
        try:
            return list(encode_windows(language_model.tokenizer, text, length=length, count=count))
        except ValueError as error:
            raise FinetuneError(f"{name}: {error}") from None

    def identity(self, spec: RunSpec) -> Mapping[str, Any]:
        """The identity of a run, which has to be the same where it goes on from a checkpoint."""
        return {
            "plan": asdict(spec),
            "code": router_code(spec.router),
            "settings": asdict(self.settings),
            "model": self.asset.identity(),
            "text": self.passages.sha256,
        }


def router_code(router: str) -> str | None:
    """SHA-256 of the file that a router is written in: an edited one, or another of its name, is another router."""
    return None if router == STOCK else file_sha256(Path(inspect.getfile(get_router_class(router))))
