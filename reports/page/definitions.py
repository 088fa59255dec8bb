"""Words and sources that the page explains at its end."""

from __future__ import annotations

from reports.judging import paper
from reports.judging.standing import STANDING_RULE
from reports.records.report_data import ReportData

DEFINITIONS = (
    ("Load", "an expert's share of all assignments; the shares sum to one"),
    ("Largest load", "the load of a seed's busiest expert, (1 + MaxVio) / E"),
    ("Experts", "how many experts a token selects: K, unless the router's definition says otherwise"),
    ("Effective experts", "exp of the entropy of the mean probabilities"),
    ("Ratio", "median over rounds of a router's time over the baseline's in the same round, one a block"),
    ("Stock", "the language model with its own gates: the baseline inside it, and the reference of fine-tuning"),
    ("Start", "how a replaced router got its weights: original (the gate's own), random, or distilled from the gate"),
    ("Perplexity", "exp of the mean negative log-likelihood over all predicted tokens of text not trained on"),
    ("Agreement", "share of the original gate's K experts that the router selects too, mean over layers"),
    ("Frozen", "the control of fine-tuning: the router keeps its first weights, and the adapters alone learn"),
    ("Noise floor", "the same ratio for the baseline against itself (A/A)"),
    ("Standing", STANDING_RULE[0].lower() + STANDING_RULE[1:].rstrip(".")),
)


def defined(data: ReportData) -> list[tuple[str, str]]:
    """Every word that the page explains: the metrics' own definitions first."""
    return [*((record.label, record.definition) for record in data.metrics.values()), *DEFINITIONS]


METHOD = (
    "A router is compared with a slow float64 reference before it is timed; one that disagrees is not ranked.",
    "All routers of a group are measured together, interleaved in balanced order, in blocks of rounds, fast ones "
    "several times a round; the baseline takes part twice, and its ratio to itself is the noise floor.",
    "Each repetition is a fresh process, which measures a block of every group and gives one ratio per router; the "
    "interval is Student's t over the logarithms of the processes' ratios, never over single calls, which are not "
    "independent.",
    "Behaviour is measured over seeds; from a seed the router, the input batch and the experts are drawn, "
    "independently of each other. An expert's number means nothing in another seed: every figure is taken within a "
    "seed, and mean and sd (ddof 1) are over seeds.",
)

SOURCES = (
    (f"{paper.TITLE} (the paper)", paper.ADDRESS),
    ("Fedus et al. 2021, Switch Transformers (load-balancing loss)", "https://arxiv.org/abs/2101.03961"),
    ("Hu et al. 2021, LoRA (the adapters of fine-tuning)", "https://arxiv.org/abs/2106.09685"),
    ("Roller et al. 2021, Hash Layers (hash routing)", "https://arxiv.org/abs/2106.04426"),
    ("Shazeer et al. 2017, Sparsely-Gated Mixture-of-Experts", "https://arxiv.org/abs/1701.06538"),
)
