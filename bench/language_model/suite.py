"""The suite of a run that measures routers inside a language model.

Axes: B batch, S sequence, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from bench.case import Case
from bench.language_model.models import LoadedModel, load_first
from bench.language_model.prepared import InstalledRouters, PreparedModel, check_in_model, prepare_model
from bench.language_model.scenarios import get_language_model_scenario
from bench.language_model.shared_weights import TWIN
from bench.presets import Preset
from bench.router.inputs import SHAKESPEARE
from bench.scenario import list_scenarios
from bench.suite import Suite, describe_text
from bench.timing.context import MeasurementContext
from bench.timing.group import GroupSpec
from harness.assets.errors import AssetError
from harness.replacement.moe_blocks import STOCK, MoEBlock, find_moe_blocks
from harness.text.texts import resolve_text
from routers.parameters import count_parameters

WARMUP = 1
"""Rounds before the first block: each subject's call has been made twice by then."""


class LanguageModelSuite(Suite[PreparedModel]):
    """The suite of routers inside a language model.

    Args:
        preset: sizes and amounts.
        context: what to measure with.
        names: language models in order of preference, instead of the preset's and the embedded one, if given.
    """

    subject, baseline, twin = "language_model", STOCK, TWIN

    def __init__(self, preset: Preset, context: MeasurementContext, names: Sequence[str] = ()) -> None:
        super().__init__(preset, context)
        self.names = tuple(names) or tuple(dict.fromkeys((preset.language_model, "embedded")))
        self._installed: dict[str, InstalledRouters | Exception] = {}

    @cached_property
    def loaded(self) -> LoadedModel:
        """The first of the models that can be had."""
        return load_first(self.names, self.context.device)

    @cached_property
    def blocks(self) -> list[MoEBlock]:
        """Of the model, with its own routers."""
        return find_moe_blocks(self.loaded.model)

    def spec(self, scenario_name: str, input_name: str) -> GroupSpec:
        """The preset's rounds for language models, more of the short calls."""
        scenario = get_language_model_scenario(scenario_name)
        return GroupSpec(
            # A model of other weights is another group: a resumed run goes on with its own.
            key=f"{scenario_name} | {self.loaded.asset.name} {self.loaded.asset.sha256[:8]}",
            baseline=STOCK,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=scenario.tokens(*scenario.shape(self.preset)),
            warmup=WARMUP,
            repetitions=self.preset.repetitions,
            rounds=self.preset.model_rounds * scenario.share,
        )

    def prepare(self, case: Case) -> PreparedModel:
        """See whether the model works with the routers and as before without, and prepare its call."""
        if case.router not in self._installed:
            self._installed[case.router] = self._check(case.router)
        scenario, installed = get_language_model_scenario(case.scenario), self._installed[case.router]
        return prepare_model(case.router, scenario, self.loaded, self.preset, installed=installed)

    def describe(self, case: Case, prepared: PreparedModel) -> dict[str, Any]:
        """Sizes of the model and of the text that a call reads."""
        scenario, block, installed = get_language_model_scenario(case.scenario), self.blocks[0], prepared.installed
        assert installed is not None
        batch_size, sequence_length = scenario.shape(self.preset)
        return {
            "subject": self.subject,
            "initialise": "original" if case.router == STOCK else "random",
            "batch_size": batch_size or None,
            "sequence_length": sequence_length or None,
            "num_tokens": scenario.tokens(batch_size, sequence_length) or None,
            "layers": installed.layers,
            "hidden_size": block.hidden_size,
            "num_experts": block.num_experts,
            "top_k": block.top_k,
            "experts_per_token": installed.experts_per_token,
            "dtype": str(self.loaded.model.dtype).removeprefix("torch."),
            "parameters": installed.parameters,
        } | installed.backend

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""
        batch_size, sequence_length = get_language_model_scenario(case.scenario).shape(self.preset)
        block = self.blocks[0]
        text = f"B={batch_size} S={sequence_length} " if batch_size else ""
        sizes = f"{text}D={block.hidden_size} E={block.num_experts} K={block.top_k}"
        return f"{case.scenario} | {self.loaded.asset.name} | {sizes}"

    def summary(self) -> dict[str, Any]:
        """What the JSON's `study` says of the language model, its routers, its text and its scenarios.

        It raises nothing: the file has other suites' benchmarks too.
        """
        if "blocks" not in self.__dict__:  # no benchmark has asked for it, or it could not be had
            return {"routers": {}, "texts": {}, "scenarios": {}, "language_model": None}
        asset, model, block = self.loaded.asset, self.loaded.model, self.blocks[0]
        about_model = asdict(asset) | {
            "model_type": model.config.model_type,
            "parameters": count_parameters(model),
            "layers": len(self.blocks),
            "hidden_size": block.hidden_size,
            "num_experts": block.num_experts,
            "top_k": block.top_k,
        }
        del about_model["path"]
        return {
            "routers": {
                name: {"class": prepared.installed.class_path}
                for group in self._groups.values()
                for name, prepared in group.calls.items()
                if prepared.installed is not None and name not in (STOCK, TWIN)
            },
            "texts": _about_text(),
            "scenarios": {
                name: self._record(name) for name in list_scenarios(self.subject) if (name, "") in self.planned
            },
            "language_model": about_model,
        }

    def _record(self, scenario_name: str) -> dict[str, str]:
        scenario = get_language_model_scenario(scenario_name)
        batch_size, sequence_length = scenario.shape(self.preset)
        return scenario.as_dict(batch=batch_size, length=sequence_length)

    def _check(self, name: str) -> InstalledRouters | Exception:
        try:
            return check_in_model(name, self.loaded)
        except AssetError:
            raise
        except Exception as error:  # as in `prepare_model`: a user's router may fail in any way
            return error


def _about_text() -> dict[str, Any]:
    try:
        text = resolve_text(SHAKESPEARE)
    except AssetError:  # its file has gone since it was read
        return {}
    return {SHAKESPEARE: describe_text(text)}
