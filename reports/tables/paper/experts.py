"""What a layer's experts are made of, and what that does to the network that the layer stands in for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.inputs import quoted
from reports.format.numbers import Show, fixed, missing, some_of
from reports.format.table import Column, Table, text_column
from reports.records.report_data import ReportData
from reports.records.stat import NO_STAT, Stat
from reports.tables.output_std import OUTPUT_STD

_INPUT = "in_place"
# An output that differs by less, as a share of itself, is the network's own.
_KEPT = 0.01


@registry.table("experts", "Experts copied against partitioned", place=1)
def experts(data: ReportData) -> Table:
    """Copied against partitioned experts inside the encoder: what the layer does to the network it replaces."""
    rows = [
        {
            "router": entry.router,
            "kind": kind,
            **_over_seeds("output_std", layer.output_std),
            **_over_seeds("output_error", layer.output_error or NO_STAT),
        }
        for entry in data.select("router", _INPUT)
        for kind, layer in entry.behaviour.layer.items()
    ]
    if not rows:
        raise MissingDataError(f"the files hold no layer's output on input “{_INPUT}”")
    return Table(
        name="experts",
        title="Experts copied against partitioned",
        caption=f"Input {quoted(data, _INPUT)}: what enters the first encoder layer's feed-forward network. Copied: "
        "every expert is that network, so that no router changes the output. Partitioned: each expert holds a share of "
        "its neurons. Relative error: the L2 distance from the original network's output, as a share of that. Mean "
        "over seeds, and in brackets the smallest and the largest seed's.",
        notes=(OUTPUT_STD,),
        rows=sorted(rows, key=lambda row: str(row["kind"])),
        columns=(
            text_column("Experts", "kind"),
            text_column("Router", "router"),
            _range_column("Output STD", "output_std", fixed(3)),
            _range_column("Relative error", "output_error", fixed(3)),
        ),
        findings=_kept(rows),
    )


def _over_seeds(prefix: str, stat: Stat) -> dict[str, float | None]:
    """Mean, the ends of the seeds' values, and the mean's interval, which may reach below what there can be."""
    values: Collection[float] = stat.known.values()
    return {
        **interval_fields(prefix, stat.interval),
        f"{prefix}_least": min(values, default=None),
        f"{prefix}_most": max(values, default=None),
    }


def _range_column(heading: str, prefix: str, show: Show) -> Column:
    """A column `1.86 (0.61 to 3.40)`, whose brackets hold the ends over the seeds and no interval."""

    def show_range(mean: float | None, least: float | None, most: float | None) -> str:
        return show(mean) if missing(mean) or least == most else f"{show(mean)} ({show(least)} to {show(most)})"

    return Column(heading, (prefix, f"{prefix}_least", f"{prefix}_most"), show_range)


def _kept(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Which kind of experts gives the network's own output, and how far the other is from it."""
    errors: dict[str, dict[str, float]] = {}
    for row in rows:
        if isinstance(error := row["output_error"], float):
            errors.setdefault(str(row["kind"]), {})[str(row["router"])] = error
    return (f"The network's output: {'; '.join(_of_kind(*each) for each in errors.items())}.",) if errors else ()


def _of_kind(kind: str, errors: Mapping[str, float]) -> str:
    kept = [router for router, error in errors.items() if error <= _KEPT]
    said = f"{kind} experts keep it with {some_of(kept, errors) if kept else 'no router'}"
    if len(kept) == len(errors):
        return said
    least, most = min(errors, key=errors.__getitem__), max(errors, key=errors.__getitem__)
    return (
        f"{said}, with relative errors of {errors[least]:.2f} ({least}) to {errors[most]:.2f} ({most}), where 1 is as "
        "large as the output itself"
    )
