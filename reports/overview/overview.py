"""The first screen whole, which every form of a report begins with."""

from __future__ import annotations

from dataclasses import dataclass

from reports.format.plot import Plot
from reports.format.table import Table
from reports.overview.answers import Answer
from reports.overview.trust import TrustBox


@dataclass(frozen=True)
class Overview:
    """What a reader sees first.

    Attributes:
        run_lines: a line a file.
        trust: how far to trust it.
        answers: (which machine, its answers) in turn; one pair without a name where there is one machine.
        tables: a row a router; one a machine.
        plots: trade-offs; one a machine.
        left_out: a sentence for what cannot be shown.
    """

    run_lines: tuple[str, ...]
    trust: TrustBox
    answers: tuple[tuple[str, tuple[Answer, ...]], ...]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    left_out: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """Run, trust and answers as plain sentences, for a terminal and for Markdown."""
        trust = self.trust
        counted = "; ".join(f"{label.lower()} {value}" for label, value in trust.differences)
        said = [*self.run_lines, f"Trust: {trust.level.name.lower()}. {trust.headline}", *trust.reasons[: trust.faults]]
        said += [f"{trust.lead} {counted}."] if counted else []
        said += trust.reasons[trust.faults :]
        for machine, answers in self.answers:
            said += [f"{machine}: {each.plain}" if machine else each.plain for each in answers]
        return said

    @property
    def row_ids(self) -> list[dict[str, str]]:
        """Of each table: router -> the id of its row."""
        return [
            {str(row["router"]): name for row, name in zip(table.rows, table.row_ids, strict=True)}
            for table in self.tables
        ]
