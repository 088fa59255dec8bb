"""How well language models with each router read, after fine-tuning: the best start of each."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from reports.judging.intervals import Interval, mean_interval
from reports.records.report_data import ReportData
from reports.tables.fine_tuning.perplexity import after

COMMAND = "python -m harness finetune --router {} --control"


@dataclass(frozen=True)
class Read:
    """A router's perplexity on text not trained on, by seed, from the start with the lowest mean."""

    router: str
    start: str
    by_seed: dict[int, float]

    @property
    def interval(self) -> Interval:
        """Mean and 95 % interval over the seeds."""
        return mean_interval(list(self.by_seed.values()))


def perplexities(data: ReportData) -> dict[str, Read]:
    """By router, those alone that were trained to a finite perplexity."""
    found: dict[str, Read] = {}
    for variant in data.fine_tuning.variants if data.fine_tuning else ():
        known = variant.trained.known(after)
        best = found.get(variant.router)
        if known and (best is None or fmean(known.values()) < fmean(best.by_seed.values())):
            found[variant.router] = Read(variant.router, variant.initialise, known)
    return found
