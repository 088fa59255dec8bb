"""The page of a trace, and every file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reports.errors import MissingDataError
from reports.format.escape import csv_cell
from reports.format.table import Table
from reports.page.simple import Drawing, Section, drawn, simple_files
from reports.traces.analysis import Analysis
from reports.traces.summary import to_json
from reports.traces.views.shown import figure, table

TITLE = "Routing trace"


@dataclass(frozen=True)
class Plan:
    """A section before it meets a trace: its tables and figures are those that name its anchor."""

    anchor: str
    title: str
    intro: str = ""


PLAN = (
    Plan("balance", "Balance", "How evenly each layer's experts are loaded."),
    Plan("ranks", "Expert-parallel ranks", "What a step waits for, if the experts are spread over ranks in order."),
    Plan(
        "agreement", "Agreement", "The same tokens in two traces, such as a train engine's and an inference engine's."
    ),
    Plan("drift", "Drift", "Whether the load at the end is that of the beginning."),
    Plan("domains", "Domains", "Whether some experts are those of some domains."),
    Plan("co-activation", "Co-activation", "Which experts are selected for the same tokens."),
    Plan("weights", "Probabilities and weights", "How sure the router is, where the trace says it."),
    Plan("trace", "The trace"),
)
"""The sections in the order in which a reader meets them."""


def build_sections(analysis: Analysis) -> tuple[list[Section], list[str]]:
    """The sections that there is something for, the last one of what is left out; and the sentences that follow."""
    sections: list[Section] = []
    left_out: list[str] = []
    findings: list[str] = []
    for plan in PLAN:
        items: list[Table | Drawing] = []
        for kind in (figure, table):
            for each in kind.of(plan.anchor):
                try:
                    shown = each.build(analysis)
                except MissingDataError as missing:
                    left_out.append(f"{each.name}: left out, because {missing}.")
                    continue
                if isinstance(shown, Table):
                    # They stand above all sections, once.
                    findings += shown.findings
                    shown = replace(shown, findings=())
                items.append(shown if isinstance(shown, Table) else drawn(shown))
        if items:
            sections.append(Section(plan.anchor, plan.title, plan.intro, tuple(items)))
    if left_out:
        sections.append(Section("left-out", "Left out", sentences=tuple(left_out)))
    return sections, findings


def trace_files(analysis: Analysis) -> tuple[dict[str, bytes], list[str]]:
    """Every file by its relative name, the page last; and the sentences that follow from them, for the terminal."""
    sections, findings = build_sections(analysis)
    files = simple_files(TITLE, [_statement(analysis), *findings], sections)
    page = files.pop("index.html")
    files["load.csv"] = "".join(_load_rows(analysis)).encode()
    files["summary.json"] = to_json(analysis).encode()
    return files | {"index.html": page}, findings


def _statement(analysis: Analysis) -> str:
    sources = ", ".join(analysis.sources[:3]) + (f" and {len(analysis.sources) - 3} more" * (len(analysis.sources) > 3))
    left_out = f" ({analysis.left_out:,} more are left out by the mask)" if analysis.left_out else ""
    experts = f"{analysis.num_experts:,}" + ("" if analysis.num_experts_known else " or more")
    layers = f"{analysis.num_layers} layer{'s' * (analysis.num_layers > 1)}"
    if analysis.num_tokens is None:
        return (
            f"{int(analysis.load.sum()):,} assignments, counted without tokens, {layers}, "
            f"{experts} experts; from {sources}."
        )
    return (
        f"{analysis.num_tokens:,} tokens{left_out}, {layers}, {analysis.top_k} of {experts} "
        f"experts per token; from {sources}."
    )


def _load_rows(analysis: Analysis) -> Iterator[str]:
    yield "layer,expert,assignments,share\n"
    for layer, name in enumerate(analysis.layer_names):
        total = max(1, int(analysis.load[layer].sum()))
        cell = str(csv_cell(name)).replace('"', '""')
        for expert, number in enumerate(analysis.load[layer].tolist()):
            yield f'"{cell}",{expert},{number},{number / total!r}\n'
