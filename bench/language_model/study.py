"""The part of a run that measures routers inside a language model.

Axes: B batch, S sequence, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, cached_property
from typing import Any

from bench.case import Case
from bench.language_model.models import Loaded, Reader, load_first
from bench.language_model.scenarios import MODEL_SCENARIOS
from bench.language_model.shared_weights import STOCK, TWIN
from bench.language_model.subjects import Facts, ModelSubject, check_in_model, make_model_subject
from bench.presets import Preset
from bench.router.inputs import SHAKESPEARE
from bench.timing.context import Rig
from bench.timing.group import Comparison, Group
from harness.assets.errors import AssetError
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from harness.text.texts import resolve_text

SCHEMA = 1
WARMUP = 1
"""Rounds before the first block: each subject's call has been made twice by then."""


class ModelStudy:
    """Measures on demand and remembers. A `bench.case.Part`.

    Args:
        preset: sizes and amounts.
        rig: what to measure with.
        names: language models in order of preference, instead of the preset's and the embedded one, if given.
    """

    scenarios = MODEL_SCENARIOS

    def __init__(self, preset: Preset, rig: Rig, names: Sequence[str] = ()) -> None:
        self.preset = preset
        self.rig = rig
        self.names = tuple(names) or tuple(dict.fromkeys((preset.language_model, "embedded")))
        self.planned: dict[str, list[str]] = {}
        self.classes: dict[str, str] = {}
        self.group = cache(self._group)
        self.facts = cache(self._facts)

    @cached_property
    def loaded(self) -> Loaded:
        """The first of the models that can be had."""
        return load_first(self.names, self.rig.device)

    @cached_property
    def reader(self) -> Reader:
        """Of the text, in the model's tokens."""
        return Reader(self.loaded)

    @cached_property
    def blocks(self) -> list[MoEBlock]:
        """Of the model, with its own routers."""
        return find_moe_blocks(self.loaded.model)

    def plan(self, case: Case) -> None:
        """A benchmark will ask for these routers: they are measured together with the others of the scenario."""
        self.planned.setdefault(case.scenario, []).append(case.router)

    def durations(self, case: Case) -> list[int]:
        """All rounds of a model with a router's, nanoseconds; raises what was wrong with it, if it was not timed."""
        return self.group(case.scenario).durations(case.router)

    def check(self, case: Case) -> None:
        """See whether the model works with the routers and as before without, and make a call, without timing anything.

        Raises:
            Exception: what is wrong with it.
        """
        subject = self._subject(case.scenario, case.router)
        if subject.error is not None:
            raise subject.error

    def extra_info(self, case: Case) -> dict[str, Any]:
        """The JSON entry of one benchmark, as README.md beside this package describes it."""
        group, scenario, block = self.group(case.scenario), MODEL_SCENARIOS[case.scenario], self.blocks[0]
        subject = group.subjects[case.router]
        facts = subject.facts
        assert facts is not None
        if case.router != STOCK:
            self.classes[case.router] = facts.class_name
        batch_size, sequence_length = scenario.shape(self.preset)
        return {
            "schema": SCHEMA,
            "subject": "language_model",
            "scenario": case.scenario,
            "router": case.router,
            "initialise": "original" if case.router == STOCK else "random",
            "batch_size": batch_size or None,
            "sequence_length": sequence_length or None,
            "num_tokens": scenario.tokens(batch_size, sequence_length) or None,
            "layers": facts.layers,
            "hidden_size": block.hidden_size,
            "num_experts": block.num_experts,
            "top_k": block.top_k,
            "experts_per_token": facts.experts_per_token,
            "dtype": str(self.loaded.model.dtype).removeprefix("torch."),
            "device": self.rig.device,
            "threads": self.rig.num_threads,
            "preset": self.preset.name,
            "parameters": facts.parameters,
            "flops": None,
            "peak_memory": subject.peak_memory,
            "timing": self.rig.timing(group, case.router),
        } | facts.backend

    def label(self, case: Case) -> str:
        """The benchmark's group, for pytest-benchmark's tables."""
        batch_size, sequence_length = MODEL_SCENARIOS[case.scenario].shape(self.preset)
        block = self.blocks[0]
        text = f"B={batch_size} S={sequence_length} " if batch_size else ""
        sizes = f"{text}D={block.hidden_size} E={block.num_experts} K={block.top_k}"
        return f"{case.scenario} | {self.loaded.asset.name} | {sizes}"

    def summary(self) -> dict[str, Any]:
        """What the JSON's `study` says of the language model, its routers and its text.

        It raises nothing: the file has other parts' benchmarks too.
        """
        routers = {name: {"class": path} for name, path in self.classes.items()}
        if "blocks" not in self.__dict__:  # no benchmark has asked for it, or it could not be had
            return {"routers": routers, "texts": {}, "language_model": None}
        asset, model, block = self.loaded.asset, self.loaded.model, self.blocks[0]
        about_model = asdict(asset) | {
            "model_type": model.config.model_type,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "layers": len(self.blocks),
            "hidden_size": block.hidden_size,
            "num_experts": block.num_experts,
            "top_k": block.top_k,
        }
        del about_model["path"]
        return {
            "routers": routers,
            "texts": _about_text(),
            "language_model": about_model,
        }

    def _group(self, scenario_name: str) -> Group[ModelSubject]:
        names = [STOCK, TWIN, *(name for name in self.planned[scenario_name] if name != STOCK)]
        scenario, asset = MODEL_SCENARIOS[scenario_name], self.loaded.asset
        comparison = Comparison(
            # A model of other weights is another group: a resumed run goes on with its own.
            key=f"{scenario_name} | {asset.name} {asset.sha256[:8]}",
            baseline=STOCK,
            twin=TWIN,
            gradients=scenario.gradients,
            tokens=scenario.tokens(*scenario.shape(self.preset)),
            warmup=WARMUP,
            repetitions=self.preset.repetitions,
            rounds=self.preset.model_rounds * scenario.share,
        )
        group = self.rig.measure(comparison, lambda: {name: self._subject(scenario_name, name) for name in names})
        # Shells, caches and optimisers are let go: other groups come, and each has as many.
        measured = {name: replace(subject, call=None, reset=None) for name, subject in group.subjects.items()}
        return replace(group, subjects=measured)

    def _subject(self, scenario_name: str, name: str) -> ModelSubject:
        return make_model_subject(
            name,
            MODEL_SCENARIOS[scenario_name],
            self.loaded,
            self.reader.read,
            self.preset,
            facts=self.facts(name),
        )

    def _facts(self, name: str) -> Facts | Exception:
        try:
            return check_in_model(name, self.loaded, self.reader.read)
        except AssetError:
            raise
        except Exception as error:  # as in `make_model_subject`: a user's router may fail in any way
            return error


def _about_text() -> dict[str, Any]:
    try:
        text = resolve_text(SHAKESPEARE)
    except AssetError:  # its file has gone since it was read
        return {}
    return {SHAKESPEARE: {"source": text.source, "sha256": text.sha256, "characters": len(text.text)}}
