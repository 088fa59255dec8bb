"""What router probabilities and routing weights say. Axes: L layers, K experts per token."""

from __future__ import annotations

from reports.errors import MissingDataError
from reports.format.numbers import fixed
from reports.format.table import Column, Table, text_column
from reports.traces.analysis import Analysis
from reports.traces.views.shown import table

_WEIGHTS_SHOWN = 8
_PROBABILITIES = {
    "token_entropy": "Entropy",
    "mean_top_k_prob": "Mean top-k",
    "mean_top_2_prob": "Mean top-2",
    "score_std": "Score STD",
    "specialisation": "Specialisation",
    "margin": "Margin",
}


@table("weights", "Table of probabilities and weights by layer", place=0)
def probabilities(analysis: Analysis) -> Table:
    """What router probabilities and routing weights say, by layer."""
    found = analysis.probabilities
    if not found and analysis.weight_by_rank is None:
        raise MissingDataError("the files hold neither router logits nor routing weights")
    rows = []
    for layer, name in enumerate(analysis.layer_names):
        row: dict[str, object] = {"layer": name, **{key: float(each[layer]) for key, each in found.items()}}
        if analysis.weight_by_rank is not None:
            row |= {f"weight_{rank}": float(each) for rank, each in enumerate(analysis.weight_by_rank[layer])}
        rows.append(row)
    columns = [text_column("Layer", "layer")]
    columns += [Column(_PROBABILITIES[key], (key,), fixed(4)) for key in found]
    if analysis.weight_by_rank is not None:
        columns += [
            Column(f"Weight {rank + 1}", (f"weight_{rank}",), fixed(3))
            for rank in range(min(analysis.weight_by_rank.shape[1], _WEIGHTS_SHOWN))
        ]
    return Table(
        name="probabilities",
        title="Router probabilities and routing weights by layer",
        caption="Means over tokens. Entropy is that of a token's probabilities, in nats; specialisation the entropy "
        "of the mean probabilities minus the mean entropy; margin the Kth largest probability minus the next one; "
        "weight 1 the routing weight of the first expert of a token.",
        rows=rows,
        columns=tuple(columns),
    )
