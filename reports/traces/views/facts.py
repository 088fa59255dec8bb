"""What a trace is of."""

from __future__ import annotations

from reports.format.numbers import as_text, count
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.views.shown import table


@table("trace", "Table of what was read", place=0)
def facts(analysis: Analysis) -> Table:
    """What the trace is of."""
    number = count(analysis.num_experts)
    said = [
        ("files", ", ".join(analysis.sources)),
        ("tokens that count", count(analysis.num_tokens)),
        ("tokens left out by the mask", count(analysis.left_out)),
        ("layers", count(analysis.num_layers)),
        ("experts", number if analysis.num_experts_known else f"{number}, one more than the largest that occurs"),
        ("experts per token (K)", count(analysis.top_k)),
        ("assignments", count(int(analysis.load.sum()))),
    ]
    return Table(
        name="trace",
        title="The trace",
        caption="What the files hold and what was counted of it. Where no file says how many experts there are, "
        "--num-experts does: experts that no token reached are not seen otherwise.",
        rows=[{"what": what, "value": value} for what, value in said],
        columns=(text_column("What", "what"), Column("Value", ("value",), as_text, is_number=False)),
    )
