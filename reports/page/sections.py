"""The order in which a reader meets the tables and figures. A new one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from reports.errors import MissingDataError
from reports.figures import language_model as language_figure
from reports.figures import latency as latency_figure
from reports.figures import losses as losses_figure
from reports.figures import outputs, probabilities
from reports.figures import perplexity as perplexity_figure
from reports.format.numbers import listing
from reports.format.plot import Plot, PlotBuilder
from reports.format.table import Table, TableBuilder
from reports.judging.verdict import CLAIM_RULE, FINE_TUNING_RULE, NUMBER_RULE
from reports.records.study import Study
from reports.tables import (
    balance,
    contextual,
    costs,
    expert_load,
    language_model,
    latency,
    losses,
    paper_values,
    perplexity,
    warm_start,
)

Built = TypeVar("Built", Table, Plot)


@dataclass(frozen=True)
class Subject:
    """What a section is about; where no file holds anything of it, the section is left out whole, with a sentence."""

    held_by: Callable[[Study], bool]
    absent: str


ROUTERS = Subject(lambda study: bool(study.entries), "the files hold no benchmark of routers")
LANGUAGE_MODEL = Subject(lambda study: bool(study.language), "the files hold no benchmark inside a language model")
FINE_TUNING = Subject(lambda study: study.fine_tuning is not None, "the files hold no fine-tuning")


@dataclass(frozen=True)
class SectionPlan:
    """A section before it meets a study; `names` say what is missing when a builder cannot build."""

    anchor: str
    title: str
    intro: str = ""
    tables: tuple[tuple[str, TableBuilder], ...] = ()
    plots: tuple[tuple[str, PlotBuilder], ...] = ()
    subject: Subject = ROUTERS


@dataclass(frozen=True)
class Section:
    """A section with its tables and figures, and a sentence for each that had to be left out."""

    anchor: str
    title: str
    intro: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    left_out: tuple[str, ...]

    @property
    def findings(self) -> Iterator[str]:
        """What its tables conclude."""
        return (finding for table in self.tables for finding in table.findings)


_BALANCE_INPUTS = ("random", "contextual", "prose", "skewed")
_FIGURE_INPUTS = ("random", "contextual")

PLAN = (
    SectionPlan("summary", "Summary", tables=(("Summary", costs.summary),)),
    SectionPlan("parameters", "Parameters", NUMBER_RULE, tables=(("Parameters", paper_values.parameters),)),
    SectionPlan("random-input", "Random input", tables=(("Random input", paper_values.random_input),)),
    SectionPlan(
        "latency",
        "Latency",
        tables=(("Latency", latency.latency),),
        plots=(("Latency figure", latency_figure.ratios),),
    ),
    SectionPlan("supplemental", "Supplemental", tables=(("Supplemental table", paper_values.supplemental),)),
    SectionPlan(
        "contextual",
        "Random against contextual",
        CLAIM_RULE,
        tables=tuple(
            (f"{shift.title}, random against contextual", partial(contextual.random_against_contextual, shift))
            for shift in contextual.SHIFTS
        ),
    ),
    SectionPlan("experts", "Experts", tables=(("Experts copied against partitioned", contextual.experts),)),
    SectionPlan(
        "costs",
        "Costs",
        tables=tuple((f"Cost: {scenario}", partial(costs.costs, scenario)) for scenario in costs.SCENARIOS),
    ),
    SectionPlan(
        "balance",
        "Balance",
        tables=tuple((f"Balance on “{name}”", partial(balance.balance, name)) for name in _BALANCE_INPUTS),
    ),
    SectionPlan(
        "language-model",
        "Language model",
        "Routers inside a language model, timed beside the same model with its own gates in the same interleaved run.",
        tables=(
            ("Inside a language model", language_model.summary),
            *((f"Inside: {name}", partial(language_model.scenario, name)) for name in language_model.SCENARIOS),
        ),
        plots=(("Figure of times inside a language model", language_figure.ratios),),
        subject=LANGUAGE_MODEL,
    ),
    SectionPlan(
        "fine-tuning",
        "Fine-tuning",
        FINE_TUNING_RULE,
        tables=(
            ("Fine-tuning loss", losses.losses),
            ("Fine-tuning loss against linear's", losses.against_linear),
            ("Held-out perplexity", perplexity.held_out),
            ("Warm start", warm_start.warm_start),
            ("Expert load during fine-tuning", expert_load.expert_load),
        ),
        plots=(
            ("Figure of fine-tuning losses", losses_figure.curves),
            ("Figure of held-out perplexity", perplexity_figure.slopes),
        ),
        subject=FINE_TUNING,
    ),
    SectionPlan(
        "figures",
        "Figures",
        "The paper's figures 4, 5 and 6, for all routers measured, on random and on contextual input.",
        plots=tuple(
            (f"Figure {number} on “{name}”", partial(builder, name))
            for number, builder in (
                (4, probabilities.along_sequence),
                (5, outputs.distribution),
                (6, probabilities.by_token),
            )
            for name in _FIGURE_INPUTS
        ),
    ),
)


def build_sections(study: Study) -> list[Section]:
    """Builds all that the study has data for, and says at the end which subjects the files say nothing of."""
    sections = []
    absent: dict[Subject, list[str]] = {}
    for plan in PLAN:
        if not plan.subject.held_by(study):
            absent.setdefault(plan.subject, []).append(plan.title)
            continue
        left_out: list[str] = []
        tables = _build(plan.tables, study, left_out)
        plots = _build(plan.plots, study, left_out)
        sections.append(Section(plan.anchor, plan.title, plan.intro, tables, plots, tuple(left_out)))
    if absent:
        sentences = tuple(
            f"{listing(titles)}: left out, because {subject.absent}." for subject, titles in absent.items()
        )
        sections.append(Section("left-out", "Left out", "", (), (), sentences))
    return sections


def _build(
    builders: tuple[tuple[str, Callable[[Study], Built]], ...], study: Study, left_out: list[str]
) -> tuple[Built, ...]:
    built: list[Built] = []
    for name, build in builders:
        try:
            built.append(build(study))
        except MissingDataError as missing:
            left_out.append(f"{name}: left out, because {missing}.")
    return tuple(built)
