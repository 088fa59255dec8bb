"""The suite of a run that measures routers inside a language model.

Axes: B batch, S sequence, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.case import Case
from bench.language_model.checked import CheckedModel, InstalledRouters, check_in_model, make_ready
from bench.language_model.models import LoadedModel, load_first
from bench.language_model.precision import Activations, combine_layers
from bench.language_model.scenarios import get_language_model_scenario
from bench.language_model.shared_weights import TWIN
from bench.presets import Preset
from bench.router.inputs import SHAKESPEARE
from bench.router.precision import records
from bench.scenario import list_scenarios
from bench.suite import Suite, describe_text
from bench.timing.context import MeasurementContext
from bench.timing.group import GroupSpec
from bench.timing.interleave import threads
from harness.assets.errors import AssetError
from harness.assets.resolve import ModelAsset
from harness.replacement.moe_blocks import STOCK, find_moe_blocks
from harness.text.texts import resolve_text
from routers.parameters import count_parameters

WARMUP = 1
"""Rounds before a block."""


@dataclass(frozen=True)
class AboutModel:
    """What is known of a language model when it is no more in memory.

    Attributes:
        asset: where it came from.
        taken: the name that it is loaded by.
        dtype: of its weights.
        sizes: the JSON's, by name.
    """

    asset: ModelAsset
    taken: str
    dtype: str
    sizes: dict[str, Any]

    @classmethod
    def of(cls, loaded: LoadedModel) -> AboutModel:
        """A loaded model's; a ValueError where it has no routers."""
        model, blocks = loaded.model, find_moe_blocks(loaded.model)
        sizes = {
            "model_type": model.config.model_type,
            "parameters": count_parameters(model),
            "layers": len(blocks),
            "hidden_size": blocks[0].hidden_size,
            "num_experts": blocks[0].num_experts,
            "top_k": blocks[0].top_k,
        }
        return cls(loaded.asset, loaded.taken, str(model.dtype).removeprefix("torch."), sizes)


class LanguageModelSuite(Suite[CheckedModel]):
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
        self._behaviour: dict[str, dict[str, Any]] = {}

    @cached_property
    def loaded(self) -> LoadedModel:
        """The first of the models that can be had."""
        return load_first(self.names, self.context.device)

    @cached_property
    def about(self) -> AboutModel:
        """What is known of it."""
        return AboutModel.of(self.loaded)

    @cached_property
    def _identity(self) -> str:
        return self.about.asset.identity()

    def spec(self, scenario_name: str, input_name: str, routers: Sequence[str]) -> GroupSpec:
        """The preset's rounds for language models, more of the short calls."""
        scenario, asset = get_language_model_scenario(scenario_name), self.about.asset
        return GroupSpec(
            # A model of other weights is another group: a resumed run goes on with its own.
            key=f"{scenario_name} | {asset.name} {asset.sha256[:8]}",
            scenario=scenario_name,
            input=input_name,
            routers=tuple(routers),
            baseline=STOCK,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=scenario.tokens(*scenario.shape(self.preset)),
            warmup=WARMUP,
            repetitions=self.preset.repetitions,
            rounds=self.preset.model_rounds * scenario.share,
            memory=True,
        )

    def check(self, case: Case) -> CheckedModel:
        """See whether the model works with the routers, and as before without."""
        if case.router not in self._installed:
            self._installed[case.router] = self._check(case.router)
        installed = self._installed[case.router]
        return CheckedModel(error=installed) if isinstance(installed, Exception) else CheckedModel(installed=installed)

    def expect_sound(self, case: Case) -> None:
        """See whether the router is right, and make one call of the scenario."""
        super().expect_sound(case)
        scenario = get_language_model_scenario(case.scenario)
        with torch.set_grad_enabled(scenario.gradients):
            make_ready(case.router, scenario, self.loaded, self.preset).call()

    def resolved(self) -> dict[str, str]:
        """The language model, where a benchmark has asked for it."""
        return {"language model": self._identity} if self.planned else {}

    def store(self, folder: Path) -> dict[str, Any] | None:
        """Nothing but the model's name: it is on the disk. It is let go here, because each process has its own.

        What its routers decide in other precisions is found out before, while it is still there.
        """
        if not self.planned:
            return None
        about = self.about
        self._observe_precisions()
        self.__dict__.pop("loaded", None)
        return {"names": [about.taken], "identity": self._identity}

    def describe(self, case: Case, checked: CheckedModel) -> dict[str, Any]:
        """Sizes of the model and of the text that a call reads."""
        scenario, installed, sizes = get_language_model_scenario(case.scenario), checked.installed, self.about.sizes
        assert installed is not None
        batch_size, sequence_length = scenario.shape(self.preset)
        return {
            "subject": self.subject,
            "initialise": "original" if case.router == STOCK else "random",
            "batch_size": batch_size or None,
            "sequence_length": sequence_length or None,
            "num_tokens": scenario.tokens(batch_size, sequence_length) or None,
            "layers": installed.layers,
            "hidden_size": sizes["hidden_size"],
            "num_experts": sizes["num_experts"],
            "top_k": sizes["top_k"],
            "experts_per_token": installed.experts_per_token,
            "dtype": self.about.dtype,
            "parameters": installed.parameters,
            "behaviour": self._behaviour.get(case.router),
        } | installed.backend

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""
        batch_size, sequence_length = get_language_model_scenario(case.scenario).shape(self.preset)
        text = f"B={batch_size} S={sequence_length} " if batch_size else ""
        model = "D={hidden_size} E={num_experts} K={top_k}".format_map(self.about.sizes)
        return f"{case.scenario} | {self.about.asset.name} | {text}{model}"

    def summary(self) -> dict[str, Any]:
        """What the JSON's `study` says of the language model, its routers, its text and its scenarios.

        It raises nothing: the file has other suites' benchmarks too.
        """
        if "about" not in self.__dict__:  # no benchmark has asked for it, or it could not be had
            return {"routers": {}, "texts": {}, "scenarios": {}, "language_model": None}
        about_model = asdict(self.about.asset) | self.about.sizes
        del about_model["path"]
        return {
            "routers": {
                case.router: {"class": checked.installed.class_path}
                for case, checked in self._checked.items()
                if checked.installed is not None and case.router not in (STOCK, TWIN)
            },
            "texts": _about_text(),
            "scenarios": {
                name: self._record(name) for name in list_scenarios(self.subject) if (name, "") in self.planned
            },
            "language_model": about_model,
            **records(),
        }

    def _observe_precisions(self) -> None:
        """Every router that works, on the activations of as many passages as there are seeds."""
        seeds, length = self.preset.seeds, self.preset.precision_length
        if not length:
            return
        planned = dict.fromkeys((STOCK, *(name for group in self.planned.values() for name in group)))
        names = [name for name in planned if isinstance(self._installed.get(name), InstalledRouters)]
        kept = {name: self.context.journal.get(f"precision | {self._identity} | {name}") for name in names}
        missing = [name for name in names if kept[name] is None]
        with (
            threads(os.cpu_count() or 1),  # nothing is timed here
            self.context.progress("precision | language model", len(missing)) as bar,
        ):
            activations = Activations.record(self.loaded, seeds, length) if missing else None
            for name in missing:
                assert activations is not None
                kept[name] = [activations.observe(name, seed) for seed in range(seeds)]
                self.context.journal.append(f"precision | {self._identity} | {name}", kept[name])
                bar.update()
        self._behaviour = {name: combine_layers(observed) for name, observed in kept.items() if observed}

    def _record(self, scenario_name: str) -> dict[str, str]:
        scenario = get_language_model_scenario(scenario_name)
        batch_size, sequence_length = scenario.shape(self.preset)
        return scenario.as_dict(batch=batch_size, length=sequence_length)

    def _check(self, name: str) -> InstalledRouters | Exception:
        try:
            return check_in_model(name, self.loaded)
        except AssetError:
            raise
        except Exception as error:  # a user's router may fail in any way
            return error


def _about_text() -> dict[str, Any]:
    try:
        text = resolve_text(SHAKESPEARE)
    except AssetError:  # its file has gone since it was read
        return {}
    return {SHAKESPEARE: describe_text(text)}
