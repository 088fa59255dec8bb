"""What difference each group of a run can tell: the noise of equal code, and the resolution."""

from __future__ import annotations

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.inputs import input_column
from reports.format.numbers import fixed, percent
from reports.format.table import Column, Table, interval_column, text_column
from reports.records.report_data import ReportData


@registry.table("costs", "What the run can tell", place=0, timed=True)
def noise(data: ReportData) -> Table:
    """A row for each group that was timed: a scenario on an input, or inside a language model."""
    sources, others = data.sources_of(data.measurements), data.scenarios("peer")  # whose tables have their own
    groups = [group for source in sources for group in source.records.noise if group.scenario not in others]
    if not groups:
        raise MissingDataError("the files state no noise of their groups")
    missed = sum(not group.noise_floor.holds(1) for group in groups)
    labels = {name: record.label for source in data.sources for name, record in source.records.scenarios.items()}
    return Table(
        name="noise",
        title="What the run can tell",
        caption="Noise floor: the baseline against a second one, equal code, with its 95 % interval over processes. "
        "Resolution (minimum detectable effect): the smallest difference between a router and the baseline that is "
        "found four times in five; smaller ones may exist and are not seen.",
        rows=[
            {
                "scenario": labels.get(group.scenario, group.scenario),
                "input": group.input or "language model",
                **interval_fields("noise_floor", group.noise_floor),
                "resolution": group.resolution,
            }
            for group in groups
        ],
        columns=(
            text_column("Scenario", "scenario"),
            input_column(data),
            interval_column("Noise floor", "noise_floor", fixed(3)),
            Column("Resolution", ("resolution",), percent),
        ),
        findings=(
            f"Equal code: {missed} of {len(groups)} self-comparisons miss 1 with the 95 % interval; one in twenty "
            "does by chance.",
        ),
    )
