"""Parts of the answers' sentences: numbers with their intervals, and who stands beside whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from reports.format.numbers import duration, exact, fixed, interval, percent, percents, significant
from reports.judging.intervals import Interval
from reports.judging.order import STOCK
from reports.overview.by_seed import Smallest
from reports.overview.evenness import largest_loads
from reports.overview.headline import alone, short, some, text_input
from reports.records.measurements import Entry, LanguageEntry, Measurement
from reports.records.report_data import ReportData

_RATIO = interval(significant)


def is_baseline(entry: Measurement) -> bool:
    """Whether it is what the others of its group are compared with."""
    return entry.router == entry.timing.baseline


def ratio_of(entry: Entry | LanguageEntry) -> str:
    """The ratio to the baseline with its 95 % interval."""
    value = entry.timing.ratio
    return _RATIO(value.estimate, value.low, value.high)


def time_of(entry: Entry) -> str:
    """As a ratio to the baseline; the baseline's own as it is."""
    if is_baseline(entry):
        return duration(entry.timing.us_per_call)
    return f"{ratio_of(entry)} times {short(entry.timing.baseline)}"


def price_of(data: ReportData, router: str) -> str:
    """What the most even one costs, where that is something else than the fastest's time."""
    entry = alone(data).get(router)
    where = "" if entry is None or entry.input == text_input(data) else f" on “{entry.input}”"
    return "" if entry is None or is_baseline(entry) else f"; it takes {time_of(entry)}{where}"


def load_of(entry: Entry) -> str:
    """The busiest expert's share of all assignments, mean and standard deviation over seeds."""
    loads = list(largest_loads(entry).values())
    if not loads:
        return "an unknown share"
    return percents(fmean(loads), stdev(loads) if len(loads) > 1 else None)


def perplexity_of(value: Interval) -> str:
    """A mean perplexity with its 95 % interval."""
    return interval(fixed(2))(value.estimate, value.low, value.high)


def beside(level: Sequence[str], behind: Sequence[str], show: Callable[[str], str]) -> str:
    """Who cannot be told from the first, or else who comes next."""
    if level:
        return f"Not told apart from {some(map(short, level))}."
    if not behind:
        return "There is no other to compare with."
    return f"Nobody is level; next is {short(behind[0])}, {show(behind[0])}."


def each_of(entries: Sequence[LanguageEntry], show: Callable[..., str]) -> str:
    """Each with what is shown of it."""
    return some(f"{short(entry.router)} {show(entry)}" for entry in entries)


def apart(others: Sequence[Entry] | Sequence[LanguageEntry], show: Callable[..., str]) -> str:
    """Those that select another number of experts, each with it."""
    each = [f"{short(entry.router)} {show(entry)} ({number_of(entry)})" for entry in others]
    return f" Not ranked, being other work: {some(each)}." if each else ""


def number_of(entry: Entry | LanguageEntry) -> str:
    """How many experts a token selects."""
    number = entry.experts_per_token
    return "experts unknown" if number is None else f"{exact(number)} {'expert' if number == 1 else 'experts'}"


def load_of_others(entry: Entry) -> str:
    """A router that selects all experts loads them alike whatever it prefers."""
    return "even because it selects all" if entry.experts_per_token == entry.num_experts else load_of(entry)


def over_seeds(entry: Entry) -> str:
    """What the deviation of its load is over."""
    number = len(largest_loads(entry))
    return f" (sd over {number} seeds)" if number > 1 else ""


def undecided(ranking: Smallest[str]) -> str:
    """What a smallest estimate is worth that few are told apart from."""
    if not ranking.level or not ranking.behind:
        return ""
    return f"Shown to be less even: {some(map(short, ranking.behind))}. "


def between(level: Sequence[LanguageEntry]) -> str:
    """The range of their ratios."""
    if not level:
        return ""
    ratios = sorted(entry.timing.ratio.estimate for entry in level)
    shown = dict.fromkeys(significant(each) for each in (ratios[0], ratios[-1]))
    return f", at {' to '.join(shown)} times their time"


def corrected(entries: Sequence[LanguageEntry]) -> str:
    """For how many comparisons, where several are made: one interval alone may exclude 1 then."""
    number = sum(entry.router != STOCK for entry in entries)
    return f", corrected for {number} comparisons" if number > 1 else ""


def may_be_missed(level: Sequence[LanguageEntry]) -> str:
    """From which size on a difference from the model's own gates is found, among so many comparisons.

    A group's resolution is that of one comparison; where larger differences were seen and not told, it is not enough.
    """
    if not level:
        return ""
    seen = max(math.exp(abs(math.log(entry.timing.ratio.estimate))) - 1 for entry in level)
    least = max(seen, *(entry.timing.resolution for entry in level))
    return f" Differences up to {percent(least)} may stay hidden."


def to_tune(data: ReportData) -> str:
    """The routers of the files as options; those beyond three are for the reader to add."""
    names = [router for router in data.routers if router == router.strip() and router != STOCK][:3] or ["NAME"]
    return " --router ".join(map(short, names))


def two_digits(number: float) -> str:
    """A number of the paper that has no more."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 100 else significant(number)
