"""The order in which a reader meets the sections, and what each of them holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reports.errors import MissingDataError
from reports.format.numbers import listing
from reports.format.plot import Plot
from reports.format.registry import Shown, figure, table
from reports.format.table import Table
from reports.judging.verdict import CLAIM_RULE, FINE_TUNING_RULE, NUMBER_RULE
from reports.page.parts import Part, parts_of, whole
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData


@dataclass(frozen=True)
class Topic:
    """What a section is about; where no file holds anything of it, the section is left out whole.

    Attributes:
        held_by: whether the data holds anything of it.
        absent: why it is left out, for a sentence; empty for what nobody misses who did not ask for it.
        measurements: what its tables are made from.
    """

    held_by: Callable[[ReportData], bool]
    absent: str
    measurements: Callable[[ReportData], Sequence[Measurement]] = lambda _: ()


ROUTERS = Topic(
    lambda data: bool(data.entries), "the files hold no benchmark of routers", measurements=lambda data: data.entries
)
LANGUAGE_MODEL = Topic(
    lambda data: bool(data.language),
    "the files hold no benchmark inside a language model",
    measurements=lambda data: data.language,
)
PRECISION = Topic(
    lambda data: any(each.precision and each.precision.compared for each in data.measurements),
    "the files compare no decisions with float64",
    measurements=lambda data: [each for each in data.measurements if each.precision],
)
PEERS = Topic(lambda data: bool(data.peers), "", measurements=lambda data: data.peers)
FINE_TUNING = Topic(lambda data: data.fine_tuning is not None, "the files hold no fine-tuning")


@dataclass(frozen=True)
class SectionPlan:
    """A section before it meets any data; its tables and figures are those that name its anchor."""

    anchor: str
    title: str
    intro: str = ""
    topic: Topic = ROUTERS
    brief: str = ""
    """What the bar at the top calls it, where the title is long."""


@dataclass(frozen=True)
class Section:
    """A section with its tables and figures; the last one has what had to be left out of all, a sentence a reason."""

    anchor: str
    title: str
    intro: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    left_out: tuple[str, ...] = ()
    brief: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What several of its tables and figures need, each once."""
        shown: tuple[Table | Plot, ...] = (*self.tables, *self.plots)
        return tuple(dict.fromkeys(note for each in shown for note in each.notes))

    @property
    def findings(self) -> Iterator[str]:
        """What its tables conclude."""
        return (finding for table in self.tables for finding in table.findings)

    @property
    def gist(self) -> str:
        """What a reader sees of it while it is closed: its first finding, or what is missing."""
        return next(iter((*self.findings, *self.left_out)), "")

    @property
    def holds(self) -> str:
        """`2 tables, 1 figure`."""
        counted = (("table", len(self.tables)), ("figure", len(self.plots)))
        return ", ".join(f"{number} {what}{'s' * (number > 1)}" for what, number in counted if number)


PLAN = (
    SectionPlan("summary", "Summary"),
    SectionPlan("parameters", "Parameters", NUMBER_RULE),
    SectionPlan("random-input", "Random input"),
    SectionPlan("latency", "Latency"),
    SectionPlan("supplemental", "Supplemental"),
    SectionPlan("contextual", "Random against contextual", CLAIM_RULE, brief="Contextual"),
    SectionPlan("experts", "Experts"),
    SectionPlan(
        "precision",
        "Precision",
        "What rounding does to decisions: the same weights and hidden states in another precision and in float64.",
        topic=PRECISION,
    ),
    SectionPlan("costs", "Costs"),
    SectionPlan("balance", "Balance"),
    SectionPlan(
        "language-model",
        "Language model",
        "Routers inside a language model, timed beside the same model with its own gates in the same interleaved run.",
        topic=LANGUAGE_MODEL,
        brief="Model",
    ),
    SectionPlan(
        "peers",
        "Beside others' code",
        "The same work, gates and layers, by this suite and by others: the same weights and tokens, in the same "
        "interleaved run. Whoever is timed has given the outputs of a float64 reference before.",
        topic=PEERS,
        brief="Peers",
    ),
    SectionPlan("fine-tuning", "Fine-tuning", FINE_TUNING_RULE, topic=FINE_TUNING),
    SectionPlan(
        "figures",
        "Figures",
        "The paper's figures 4, 5 and 6, for all routers measured, on random and on contextual input.",
    ),
)
"""The sections in the order in which a reader meets them."""


def build_sections(data: ReportData) -> list[Section]:
    """Builds all that there is data for; the last section says what is left out, and why."""
    sections = []
    left_out: Reasons = {}
    for plan in PLAN:
        if not plan.topic.held_by(data):
            if plan.topic.absent:
                left_out.setdefault(plan.topic.absent, []).append(plan.title)
            continue
        measurements = plan.topic.measurements(data)
        everything, parts = whole(data, measurements), parts_of(data, measurements)
        tables, plots = (
            _build(((each, part) for each in known for part in (parts if each.timed else [everything])), left_out)
            for known in (table.of(plan.anchor), figure.of(plan.anchor))
        )
        if tables or plots:
            sections.append(Section(plan.anchor, plan.title, plan.intro, tables, plots, brief=plan.brief))
    if left_out:
        sentences = tuple(
            f"{listing(list(dict.fromkeys(names)))}: left out, because {reason}." for reason, names in left_out.items()
        )
        sections.append(Section("left-out", "Left out", "", (), (), sentences))
    return sections


Reasons = dict[str, list[str]]
"""Why something is left out -> what."""


def _build(shown: Iterable[tuple[Shown, Part]], left_out: Reasons) -> tuple[Any, ...]:
    built = []
    pairs = ((part, builder) for each, part in shown for builder in each.builders(part.data))
    for part, (name, build) in pairs:
        try:
            built.append(part.mark(build(part.data)))
        except MissingDataError as missing:
            left_out.setdefault(str(missing), []).append(f"{name} ({part.name})" if part.name else name)
            continue
        for what, why in built[-1].left_out:
            left_out.setdefault(why, []).append(what)
    return tuple(built)
