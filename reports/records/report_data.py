"""Everything that a report is made from: the measurements of all files, and the files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reports.errors import MissingDataError
from reports.judging.order import in_order, start_rank
from reports.records.fine_tuning import FineTuning
from reports.records.measurements import Entry, LanguageEntry, Measurement
from reports.records.record import mapping_in
from reports.records.run import InputRecord, MetricRecord, RunRecords, ScenarioRecord


@dataclass(frozen=True)
class Source:
    """A file and what it says of the run as a whole."""

    file: str
    run: Mapping[str, Any]
    records: RunRecords
    machine: Mapping[str, Any]
    date: str
    commit: Mapping[str, Any]

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

    @cached_property
    def routers(self) -> tuple[str, ...]:
        """All that router benchmarks measured, in the report's order."""
        return in_order(entry.router for entry in self.entries)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The benchmarks of both kinds."""
        return (*self.entries, *self.language)

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
        """As `select`, by router; empty where there is none."""
        found = {e.router: e for e in self.entries if e.scenario == scenario and e.input == input_name}
        return {router: found[router] for router in self.routers if router in found}
