"""The paper's tables, with ours and a verdict beside every number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from reports.format import registry
from reports.format.fields import interval_fields
from reports.format.numbers import Show, count, fixed, listing, significant
from reports.format.table import Column, Table, bounds_column, text_column, verdict_column
from reports.judging import paper
from reports.judging.paper import PaperTable, Printed
from reports.judging.verdict import Verdict, comparable, judge_count, judge_number
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.output_std import OUTPUT_STD

METRIC_TITLES = {
    "token_entropy": "Entropy (nats)",
    "mean_top_2_prob": "Mean top-2 probability",
    "output_std": "Output STD",
    "aux_loss": "Auxiliary loss",
}
# The suite's own mean top-k, which stands in the summary and among the decisions, has another name and takes another K.
_TOP_2 = (
    "Mean top-2 is the mean of the two largest probabilities, whatever a router selects: what the paper's tables call "
    "mean top-k. The suite's own mean top-k takes the router's K, which is 1 for Hash."
)


@registry.table("parameters", "Parameters", place=1)
def parameters(data: ReportData) -> Table:
    """Trainable parameters; exact, so without an interval."""
    entries = data.find("router", "random") or {entry.router: entry for entry in data.entries}
    rows = []
    for router, entry in entries.items():
        printed = paper.PARAMETERS.get("parameters", router)
        at_sizes = comparable(paper.PARAMETERS, entry.sizes)
        rows.append(
            {
                "router": router,
                "paper_name": "Hadamard" if router == "mlp_hadamard" else paper.NAMES.get(router) if printed else None,
                "paper": printed.text if printed else None,
                "ours": entry.parameters,
                "verdict": printed
                and str(judge_count(printed, entry.parameters) if at_sizes else Verdict.NOT_COMPARABLE),
            }
        )
    return Table(
        name="parameters",
        title="Parameters",
        caption=f"Paper: {paper.PARAMETERS.locator}, at hidden size 768 and 8 experts; its “Hadamard” is our "
        "mlp_hadamard. Ours is a count of trainable parameters: exact, so without an interval.",
        rows=rows,
        columns=(
            text_column("Router", "router"),
            text_column("In the paper", "paper_name"),
            Column("Paper", ("paper",)),
            Column("Ours", ("ours",), count),
            verdict_column("Verdict", "verdict"),
        ),
        findings=_tally("parameter counts", rows),
        left_out=_not_measured(paper.PARAMETERS, entries),
    )


@registry.table("random-input", "Random input", place=1)
def random_input(data: ReportData) -> Table:
    """Entropy and mean top-k probability on N(0, 1) input."""
    return _metrics_table(
        data,
        input_name="random",
        table=paper.RANDOM_INPUT,
        metrics={"token_entropy": fixed(4), "mean_top_2_prob": fixed(4)},
        name="random-input",
        title="Random input against the paper",
        note=f"Entropy is the mean over tokens of each token's entropy, in nats. {_TOP_2}",
    )


@registry.table("supplemental", "Supplemental table", place=1)
def supplemental(data: ReportData) -> Table:
    """The supplemental table, at the sizes inferred for it."""
    return _metrics_table(
        data,
        input_name="supplemental",
        table=paper.SUPPLEMENTAL,
        metrics={"token_entropy": fixed(4), "mean_top_2_prob": fixed(4), "output_std": fixed(5), "aux_loss": fixed(5)},
        name="supplemental",
        title="Supplemental table against the paper",
        note="The paper does not give its sizes; 32 tokens of width 64 are inferred from the soft routers' numbers. "
        "Output STD, and the auxiliary loss of Hash and Self-Supervised, follow from no definition in the paper. "
        f"{_TOP_2} {OUTPUT_STD}",
    )


def _metrics_table(
    data: ReportData,
    *,
    input_name: str,
    table: PaperTable,
    metrics: Mapping[str, Show],
    name: str,
    title: str,
    note: str,
) -> Table:
    """One row per metric and router: the paper's tables, stood on end so that each number has room for a verdict."""
    entries = {entry.router: entry for entry in data.select("router", input_name)}
    rows = [
        _metric_row(entry, metric, show, table.get(metric, entry.router), table)
        for metric, show in metrics.items()
        for entry in entries.values()
    ]
    return Table(
        name=name,
        title=title,
        caption=f"Paper: {table.locator}. Ours: input “{input_name}”, mean, 95 % interval of the mean and standard "
        f"deviation over seeds. {note}",
        rows=rows,
        columns=(
            text_column("Metric", "metric"),
            text_column("Router", "router"),
            Column("Paper", ("paper",)),
            Column("Ours", ("ours", "metric"), _as_its_metric(metrics)),
            bounds_column("95 % interval", "interval", fixed(5)),
            Column("sd", ("sd",), significant),
            verdict_column("Verdict", "verdict"),
        ),
        findings=_tally(f"input “{input_name}”", rows),
        left_out=_not_measured(table, entries),
    )


def _metric_row(entry: Entry, metric: str, show: Show, printed: Printed | None, table: PaperTable) -> dict[str, object]:
    stat = entry.behaviour.metric(metric)
    verdict = None
    if printed:
        fair = printed.definition_open or comparable(table, entry.sizes)
        verdict = judge_number(printed, stat.mean, stat.sd) if fair else Verdict.NOT_COMPARABLE
    return {
        "metric": METRIC_TITLES[metric],
        "router": entry.router,
        "paper": printed.text if printed else None,
        "ours": stat.mean,
        **interval_fields("interval", stat.interval),
        "sd": stat.sd,
        "verdict": str(verdict) if verdict else None,
    }


def _as_its_metric(metrics: Mapping[str, Show]) -> Show:
    by_title = {METRIC_TITLES[metric]: show for metric, show in metrics.items()}
    return lambda value, title: by_title[title](value)


def _tally(what: str, rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """How many of the paper's numbers met which verdict."""
    tally = Counter(str(row["verdict"]) for row in rows if row["verdict"])
    if not tally:
        return ()
    parts = [f"{tally[verdict]} {verdict}" for verdict in Verdict if tally[verdict]]
    return (f"Of the paper's {tally.total()} numbers for {what}: {listing(parts)}.",)


def _not_measured(table: PaperTable, entries: Mapping[str, Entry]) -> tuple[tuple[str, str], ...]:
    absent = [router for router in table.routers if router not in entries]
    return tuple((router, "the paper has it, and it was not measured here") for router in absent)
