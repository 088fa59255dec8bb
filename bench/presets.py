"""How much is measured: frozen settings looked up by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench.sizes import Sizes
from routers.selection import get_selection_rule


@dataclass(frozen=True)
class Preset:
    """Sizes and amounts of one run.

    Attributes:
        name: as given to `--preset`.
        repetitions: processes, each of which measures a block of every group; an interval needs at least two, and has
            one degree of freedom less.
        rounds: in a block; in each, every router is called at least once.
        warmup: rounds before the first block that are not kept.
        seeds: how many routers, inputs and expert banks each behavioural figure is drawn over.
        output_tokens: how many tokens go through the experts for the figures of the layer's output.
        models: pretrained encoders in order of preference; the first that can be had is taken and named.
        batch_size: B, of the timed batch.
        sequence_length: S.
        hidden_size: D of random input; contextual input has its encoder's.
        intermediate_size: I of the experts for random input.
        num_experts: E.
        top_k: K.
        selection: the selection rule's name; that of a router which selects by itself is its own.
        rule_fields: other values of the rule's fields.
        dtype: a name of `bench.sizes.DTYPES`.
        sizes: what is measured instead of the sizes above, one group each; empty for those above.
        scenarios: the names of those that are collected; empty for all that are measured by default.
        inputs: likewise; empty for all.
        language_model: asked for first; the embedded one is taken, and named, where it cannot be had.
        model_rounds: in a block, of the benchmarks inside a language model, which take much longer; the shorter of them
            have a multiple of it.
        model_batch_size: B of the text that a language model reads.
        model_sequence_length: S of that text, and of what is in the cache before a token is decoded.
        model_line_length: S of a batch of fine-tuning; a line of Shakespeare has about nine words.
        precision_everywhere: routers are compared with float64 on every input, and not on those alone that say so.
        precision_length: S of a passage on which they are compared inside a language model, one passage a seed; 0 where
            they are not.
        conclusive: whether a run proves more than that the parts work; reports conclude nothing from one that does not.
    """

    name: str
    repetitions: int
    rounds: int
    warmup: int
    seeds: int
    output_tokens: int = 512
    models: tuple[str, ...] = ("embedded",)
    batch_size: int = 16
    sequence_length: int = 128
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_experts: int = 8
    top_k: int = 2
    selection: str = "softmax"
    rule_fields: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    sizes: tuple[Sizes, ...] = ()
    scenarios: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    language_model: str = "embedded"
    model_rounds: int = 2
    model_batch_size: int = 2
    model_sequence_length: int = 64
    model_line_length: int = 16
    precision_everywhere: bool = False
    precision_length: int = 256
    conclusive: bool = True

    def at(self, label: str) -> Preset:
        """The same at some of its `sizes`, by their label; itself at the label of none.

        T tokens are B sequences of the greatest length up to the preset's own S that divides T.

        Raises:
            KeyError: none of its sizes has the label.
        """
        if not label:
            return self
        sizes = next((each for each in self.sizes if each.label == label), None)
        if sizes is None:
            raise KeyError(label)
        length = self.sequence_length
        if sizes.tokens is not None:
            length = next(length for length in range(min(length, sizes.tokens), 0, -1) if sizes.tokens % length == 0)
        batch_size = self.batch_size if sizes.tokens is None else sizes.tokens // length
        changes: dict[str, Any] = {"batch_size": batch_size, "sequence_length": length} | sizes.changed
        if sizes.selection is not None:
            changes |= {"selection": sizes.selection, "rule_fields": sizes.rule_fields}
        if sizes.dtype is not None:
            changes |= {"dtype": sizes.dtype}
        return replace(self, sizes=(), **changes)

    def check_sizes(self) -> None:
        """Refuse sizes that no router can have.

        Raises:
            ValueError: K above E, or a rule whose groups do not suit them.
        """
        for label in [sizes.label for sizes in self.sizes]:
            at = self.at(label)
            if at.top_k > at.num_experts:
                raise ValueError(f"{label}: top_k is {at.top_k}, expected at most num_experts = {at.num_experts}")
            get_selection_rule(at.selection, **at.rule_fields).check_sizes(at.num_experts, at.top_k)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has lists and no tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preset:
        """What `dataclasses.asdict` has made a dictionary of, and JSON lists of its tuples."""
        tuples = {name: tuple(values[name]) for name in ("models", "scenarios", "inputs")}
        return cls(**{**values, **tuples, "sizes": tuple(Sizes.from_dict(each) for each in values["sizes"])})


PRESETS: dict[str, Preset] = {}
"""All presets by name."""


def register_preset(preset: Preset) -> None:
    """Make a preset known under its name.

    Raises:
        ValueError: the name is taken.
    """
    if preset.name in PRESETS:
        raise ValueError(f"preset {preset.name!r} is already registered")
    PRESETS[preset.name] = preset


def get_preset(name: str) -> Preset:
    """The preset of that name; a ValueError lists those that exist."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


register_preset(
    Preset(
        "quick",
        repetitions=5,
        rounds=16,
        warmup=2,
        seeds=5,
        output_tokens=128,
        model_rounds=1,
        model_batch_size=1,
        precision_length=0,
    )
)
register_preset(
    Preset(
        "paper",
        repetitions=5,
        rounds=1024,
        warmup=50,
        seeds=10,
        output_tokens=2048,
        models=("bert-base-uncased", "embedded-768", "embedded"),
        language_model="Qwen/Qwen1.5-MoE-A2.7B",
        model_rounds=20,
        model_sequence_length=256,
    )
)
register_preset(Preset("ci", repetitions=5, rounds=20, warmup=5, seeds=5, model_rounds=1, precision_length=0))
# What bfloat16 and mixed precision do to decisions, on every input and inside the language model. Of times it has the
# fewest that make an interval, which tells nothing apart.
register_preset(
    Preset(
        "precision",
        repetitions=2,
        rounds=1,
        warmup=1,
        seeds=10,
        output_tokens=32,
        model_rounds=1,
        precision_everywhere=True,
        precision_length=256,
        scenarios=("router", "inject"),
    )
)
# Seconds, to see a new router go through everything. Its numbers mean nothing.
register_preset(
    Preset(
        "smoke",
        repetitions=2,
        rounds=3,
        warmup=1,
        seeds=2,
        batch_size=2,
        sequence_length=16,
        hidden_size=64,
        intermediate_size=128,
        language_model="tiny",
        model_rounds=1,
        model_sequence_length=16,
        precision_length=16,
        conclusive=False,
    )
)
# Time against tokens and against experts, each by itself: what fits into a few minutes and into memory.
register_preset(
    Preset(
        "scaling",
        repetitions=5,
        rounds=16,
        warmup=2,
        seeds=2,
        sizes=(
            *(Sizes(tokens=4**power) for power in range(9)),
            *(Sizes(tokens=1024, num_experts=2**power) for power in range(3, 10)),
        ),
        scenarios=("router",),
        inputs=("random",),
    )
)
# The layer under its router's load and under stated ones. A call has some forty times the work of a router's, and a
# group so many times fewer rounds.
register_preset(
    Preset(
        "layer",
        repetitions=5,
        rounds=512,
        warmup=1,
        seeds=2,
        batch_size=4,
        scenarios=("layer", "layer_uniform", "layer_zipf", "layer_half"),
        inputs=("random",),
    )
)
# The same work by others' code: a gate takes microseconds, and a layer in training up to seconds.
register_preset(
    Preset(
        "peers",
        repetitions=5,
        rounds=16,
        warmup=2,
        seeds=2,
        sizes=tuple(Sizes(tokens=tokens, dtype=dtype) for dtype in ("float32", "bfloat16") for tokens in (1, 64, 512)),
        scenarios=("peers",),
    )
)
