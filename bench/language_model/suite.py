"""The suite of a run that measures routers inside a language model.

Axes: B batch, S sequence, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from bench.case import Case
from bench.language_model.models import LoadedModel, TextReader, load_first
from bench.language_model.prepared import InstalledRouters, PreparedModel, check_in_model, prepare_model
from bench.language_model.scenarios import get_language_model_scenario
from bench.language_model.shared_weights import TWIN
from bench.presets import Preset
from bench.router.inputs import SHAKESPEARE
from bench.scenario import list_scenarios
from bench.timing.context import MeasurementContext
from bench.timing.group import Group, GroupSpec
from harness.assets.errors import AssetError
from harness.replacement.moe_blocks import STOCK, MoEBlock, find_moe_blocks
from harness.text.texts import resolve_text
from routers.parameters import count_parameters

WARMUP = 1
"""Rounds before the first block: each subject's call has been made twice by then."""


class LanguageModelSuite:
    """Measures on demand and remembers. A `bench.case.Suite`.

    Args:
        preset: sizes and amounts.
        context: what to measure with.
        names: language models in order of preference, instead of the preset's and the embedded one, if given.
    """

    subject = "language_model"

    def __init__(self, preset: Preset, context: MeasurementContext, names: Sequence[str] = ()) -> None:
        self.preset = preset
        self.context = context
        self.names = tuple(names) or tuple(dict.fromkeys((preset.language_model, "embedded")))
        self.planned: dict[str, list[str]] = {}
        self._installed: dict[str, InstalledRouters | Exception] = {}

    @cached_property
    def loaded(self) -> LoadedModel:
        """The first of the models that can be had."""
        return load_first(self.names, self.context.device)

    @cached_property
    def reader(self) -> TextReader:
        """Of the text, in the model's tokens."""
        return TextReader(self.loaded)

    @cached_property
    def blocks(self) -> list[MoEBlock]:
        """Of the model, with its own routers."""
        return find_moe_blocks(self.loaded.model)

    def plan(self, case: Case) -> None:
        """Note that a benchmark will ask for a case: it is measured together with the others of its scenario."""
        self.planned.setdefault(case.scenario, []).append(case.router)

    def durations(self, case: Case) -> list[int]:
        """All rounds of a model with a router's, nanoseconds; raises what was wrong with it, if it was not timed."""
        return self.group(case.scenario).durations(case.router)

    def check(self, case: Case) -> None:
        """See whether the model works with the routers and as before without, and make a call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        prepared = self._prepare(case.scenario, case.router)
        if prepared.error is not None:
            raise prepared.error

    def group(self, scenario_name: str) -> Group[PreparedModel]:
        """All planned routers in a scenario, measured together the first time."""
        names = [STOCK, TWIN, *(name for name in self.planned[scenario_name] if name != STOCK)]
        scenario = get_language_model_scenario(scenario_name)
        spec = GroupSpec(
            key=self._key(scenario_name),
            baseline=STOCK,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=scenario.tokens(*scenario.shape(self.preset)),
            warmup=WARMUP,
            repetitions=self.preset.repetitions,
            rounds=self.preset.model_rounds * scenario.share,
        )
        return self.context.measure(spec, lambda: {name: self._prepare(scenario_name, name) for name in names})

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of one benchmark, as docs/json.md describes it."""
        group, scenario, block = self.group(case.scenario), get_language_model_scenario(case.scenario), self.blocks[0]
        prepared = group.calls[case.router]
        installed = prepared.installed
        assert installed is not None
        batch_size, sequence_length = scenario.shape(self.preset)
        return {
            "subject": self.subject,
            "scenario": case.scenario,
            "router": case.router,
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
            "device": self.context.device,
            "threads": self.context.num_threads,
            "preset": self.preset.name,
            "parameters": installed.parameters,
            "flops": None,
            "peak_memory": prepared.peak_memory,
            "timing": group.timing(case.router, self.context.peak),
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
                for scenario_name in self.planned
                if (group := self.context.groups.get(self._key(scenario_name)))
                for name, prepared in group.calls.items()
                if prepared.installed is not None and name not in (STOCK, TWIN)
            },
            "texts": _about_text(),
            "scenarios": {name: self._record(name) for name in list_scenarios(self.subject) if name in self.planned},
            "language_model": about_model,
        }

    def _record(self, scenario_name: str) -> dict[str, str]:
        scenario = get_language_model_scenario(scenario_name)
        batch_size, sequence_length = scenario.shape(self.preset)
        return scenario.as_dict(batch=batch_size, length=sequence_length)

    def _key(self, scenario_name: str) -> str:
        # A model of other weights is another group: a resumed run goes on with its own.
        return f"{scenario_name} | {self.loaded.asset.name} {self.loaded.asset.sha256[:8]}"

    def _prepare(self, scenario_name: str, name: str) -> PreparedModel:
        if name not in self._installed:
            self._installed[name] = self._check(name)
        return prepare_model(
            name,
            get_language_model_scenario(scenario_name),
            self.loaded,
            self.reader.read,
            self.preset,
            installed=self._installed[name],
        )

    def _check(self, name: str) -> InstalledRouters | Exception:
        try:
            return check_in_model(name, self.loaded, self.reader.read)
        except AssetError:
            raise
        except Exception as error:  # as in `prepare_model`: a user's router may fail in any way
            return error


def _about_text() -> dict[str, Any]:
    try:
        text = resolve_text(SHAKESPEARE)
    except AssetError:  # its file has gone since it was read
        return {}
    return {SHAKESPEARE: {"source": text.source, "sha256": text.sha256, "characters": len(text.text)}}
