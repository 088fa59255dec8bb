"""Everything that a report is made from: the measurements of all files, and the files themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from reports.errors import MissingDataError
from reports.judging.order import in_order, start_rank
from reports.records.fine_tuning import FineTuning
from reports.records.measurements import Entry, LanguageEntry, Measurement
from reports.records.peers import PeerEntry, PeerPair, PeerRecords
from reports.records.record import mapping_in
from reports.records.run import InputRecord, MetricRecord, PrecisionRecord, RunRecords, ScenarioRecord

PROVES_NOTHING = "Such a run proves that the parts work: its numbers mean nothing, and nothing is concluded from them."


@dataclass(frozen=True)
class Source:
    """A file and what it says of the run as a whole."""

    file: str
    run: Mapping[str, Any]
    records: RunRecords
    machine: Mapping[str, Any]
    date: str
    commit: Mapping[str, Any]
    measured: int = 0
    """How many benchmarks it holds."""
    conditions: int = 0
    """Number of the first file that was timed on the same machine in the same setting."""

    @property
    def preset(self) -> str:
        """The name of the run's preset."""
        return str(mapping_in(self.run, "preset").get("name", self.run.get("preset", "unknown")))

    @property
    def revision(self) -> str | None:
        """The commit in full; None where there was none, which pytest-benchmark calls unversioned."""
        found = self.commit.get("id")
        return found if isinstance(found, str) and found not in ("", "unversioned") else None

    @property
    def incomplete(self) -> bool:
        """Whether it was to hold more benchmarks: the run was stopped, or some failed."""
        return self.records.planned is not None and self.measured < self.records.planned

    @property
    def conclusive(self) -> bool:
        """Whether its numbers mean anything; those of the preset smoke do not."""
        return mapping_in(self.run, "preset").get("conclusive", self.preset != "smoke") is not False

    @property
    def warnings(self) -> list[str]:
        """What its numbers cannot carry, each to be read after the file's name."""
        found = []
        if self.incomplete:
            found.append(
                f"is incomplete: it holds {self.measured:,} of the {self.records.planned:,} benchmarks of its run. "
                "Nobody is named the fastest of it."
            )
        return [*found, *([] if self.conclusive else [f"is a {self.preset} run. {PROVES_NOTHING}"])]

    @property
    def language_model(self) -> Mapping[str, Any]:
        """The model inside which benchmarks ran; empty where the file names none."""
        return mapping_in(self.run, "language_model")


@dataclass(frozen=True)
class ReportData:
    """Everything that a report is made from."""

    sources: tuple[Source, ...]
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()
    language: tuple[LanguageEntry, ...] = ()
    fine_tuning: FineTuning | None = None
    peers: tuple[PeerEntry, ...] = ()

    @cached_property
    def routers(self) -> tuple[str, ...]:
        """All that router benchmarks measured, in the report's order."""
        return in_order(entry.router for entry in self.entries)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The benchmarks of all kinds."""
        return (*self.entries, *self.language, *self.peers)

    def sources_of(self, measurements: Iterable[Measurement]) -> list[Source]:
        """The files that these come from, in order."""
        return [self.sources[index] for index in sorted({measurement.source for measurement in measurements})]

    def under(self, conditions: int) -> ReportData:
        """What was measured on one machine in one setting."""
        there = {index for index, source in enumerate(self.sources) if source.conditions == conditions}
        return replace(
            self,
            entries=tuple(entry for entry in self.entries if entry.source in there),
            language=tuple(entry for entry in self.language if entry.source in there),
            peers=tuple(entry for entry in self.peers if entry.source in there),
        )

    @property
    def tuned(self) -> FineTuning:
        """The fine-tuning; refuses where there is none."""
        if self.fine_tuning is None:
            raise MissingDataError("the files hold no fine-tuning")
        return self.fine_tuning

    def inside(self, scenario: str) -> list[LanguageEntry]:
        """All routers of a scenario inside a language model, the model's own first; refuses an empty answer."""
        found = [entry for entry in self.language if entry.scenario == scenario]
        if not found:
            raise MissingDataError(f"the files hold no measurement of “{scenario}” inside a language model")
        order = in_order(entry.router for entry in found)
        return sorted(found, key=lambda entry: (order.index(entry.router), start_rank(entry.initialise)))

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """The records of all metrics, in the order in which tables show them; of a name, the last file's."""
        return {name: record for source in self.sources for name, record in source.records.metrics.items()}

    @cached_property
    def inputs(self) -> dict[str, InputRecord]:
        """The records of all inputs, in order; of a name, the last file's."""
        return {name: record for source in self.sources for name, record in source.records.inputs.items()}

    @cached_property
    def precisions(self) -> dict[str, PrecisionRecord]:
        """The records of all comparisons with float64, in the order in which tables show them."""
        return {name: record for source in self.sources for name, record in source.records.precisions.items()}

    @cached_property
    def peer_records(self) -> PeerRecords:
        """The works and packages of all files, of a name the last file's, and who was left out anywhere."""
        records = [source.records.peers for source in self.sources]
        return PeerRecords(
            packages={name: version for each in records for name, version in each.packages.items()},
            works={name: work for each in records for name, work in each.works.items()},
            left_out=tuple(dict.fromkeys(one for each in records for one in each.left_out)),
        )

    @cached_property
    def peer_pairs(self) -> tuple[PeerPair, ...]:
        """Every peer that was timed with ours beside it, in the order of the files."""
        ours = {(each.input, each.source): each for each in self.peers if each.router == each.timing.baseline}
        works = self.peer_records.works
        return tuple(
            PeerPair(each, ours.get((each.input, each.source)), works[each.work].family)
            for each in self.peers
            if each.router != each.timing.baseline
        )

    def scenarios(self, subject: str) -> dict[str, ScenarioRecord]:
        """The records of a subject's scenarios, in order; of a name, the last file's."""
        records = {name: record for source in self.sources for name, record in source.records.scenarios.items()}
        return {name: record for name, record in records.items() if record.subject == subject}

    def select(self, scenario: str, input_name: str) -> list[Entry]:
        """All routers of a scenario on an input, in the report's order of routers; refuses an empty answer."""
        found = self.find(scenario, input_name)
        if not found:
            raise MissingDataError(f"the files hold no measurement of scenario “{scenario}” on input “{input_name}”")
        return list(found.values())

    def find(self, scenario: str, input_name: str) -> dict[str, Entry]:
        """As `select`, by router, of the last file that has it; empty where there is none."""
        in_turn = sorted(self.entries, key=lambda entry: entry.source)
        found = {e.router: e for e in in_turn if e.scenario == scenario and e.input == input_name}
        return {router: found[router] for router in self.routers if router in found}
