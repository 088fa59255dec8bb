"""Two stored runs of `pytest bench` beside each other.

Their times are unpaired: each run had its own machine, or the same one in another mood, and the processes of a run
know nothing of that. The intervals are those inside the runs, and a difference is called a suspicion at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

from reports.comparisons.comparison import Change, Comparison, Excluded, Row, Side, ordered
from reports.comparisons.moved import moved_figures
from reports.comparisons.ratios import ratio_rows
from reports.errors import NothingToCompareError
from reports.format.machine import describe, differences, machines_of
from reports.judging.intervals import Interval, unpaired_ratio
from reports.loading.load import load_benchmarks
from reports.records.measurements import Measurement
from reports.records.report_data import ReportData, Source

THRESHOLD = 0.05
# One more than the gate takes: the floor of a run says nothing of how the two runs differ.
FLOOR_MULTIPLE = 3.0
_DIFFER = "the machines differ, and the times compare them as much as the code"
_CAVEAT = (
    "Weak evidence: these are unpaired times of two runs, which on shared machines differ by 8 to 30 % for the same "
    "code. A difference is therefore called SLOWER? or FASTER? at most; python -m bench.gate times two revisions in "
    "turn and can tell."
)


def compare_files(base: Path, head: Path, threshold: float = THRESHOLD) -> Comparison:
    """Compares two stored runs; raises `NothingToCompareError` where no benchmark is in both, or both are one run."""
    return compare(load_benchmarks(base), load_benchmarks(head), threshold)


def compare(base: ReportData, head: ReportData, threshold: float) -> Comparison:
    """Compares two studies of one file each.

    Args:
        base: what is compared with.
        head: what is judged.
        threshold: a share of one; a ratio has to lie beyond 1 + threshold with its whole interval.
    """
    sources = base.sources[0], head.sources[0]
    if sources[0].date == sources[1].date and base.measurements == head.measurements:
        raise NothingToCompareError(f"{sources[0].file} and {sources[1].file} are one and the same run")
    befores, afters = ({entry.name: entry for entry in data.measurements} for data in (base, head))
    shared = {name: (before, afters[name]) for name, before in befores.items() if name in afters}
    excluded = tuple(Excluded(name, reason) for name, pair in shared.items() if (reason := _unlike(*pair)))
    unlike = {each.benchmark for each in excluded}
    pairs = {name: pair for name, pair in shared.items() if name not in unlike}
    if not pairs:
        raise NothingToCompareError(_nothing(sources, excluded))
    trials = [source.preset for source in sources if not source.conclusive]
    reason = f"a {trials[0]} run proves nothing" if trials else None
    rows = ordered(_row(name, *pair, threshold, reason) for name, pair in pairs.items())
    figures = [moved_figures(name, *pair) for name, pair in pairs.items()]
    machines = machines_of(*sources)
    machine_differences = differences(*machines)
    return Comparison(
        marker="moe-router-compare",
        title="Two stored runs of the router benchmarks",
        headline=", ".join(
            f"{number} {change.lower()}" for change, number in Counter(row.change for row in rows).items()
        ),
        reasons=(),
        caveat=_CAVEAT,
        base=_side(sources[0]),
        head=_side(sources[1]),
        setting=_setting(list(pairs.values())),
        machine=_DIFFER if machine_differences else f"same machine: {describe(machines[0])}",
        machine_differences=machine_differences,
        notices=(
            *(f"{source.file} {said}" for source in sources for said in source.warnings),
            *other_material(*(source.run for source in sources)),
        ),
        rows=rows,
        moved=tuple(moved for found, _ in figures for moved in found),
        figures_compared=sum(number for _, number in figures),
        excluded=excluded,
        added=tuple(name for name in afters if name not in befores),
        removed=tuple(name for name in befores if name not in afters),
        geometric_mean=_geometric_mean(rows),
        reading=_reading(threshold),
        threshold=threshold,
        ratios=() if reason else ratio_rows(pairs.values()),
    )


def judge(ratio: Interval, threshold: float, floor: float) -> Change:
    """A suspicion, or none, or that the interval cannot tell; as far below 1 as above, on a log scale.

    A noisy run makes a suspicion harder, and does not make it easier to be the same.
    """
    if ratio.low is None or ratio.high is None:
        return Change.UNCERTAIN
    limit = 1 + max(threshold, FLOOR_MULTIPLE * floor)
    if ratio.low > limit:
        return Change.PERHAPS_SLOWER
    if ratio.high < 1 / limit:
        return Change.PERHAPS_FASTER
    within = ratio.low >= 1 / (1 + threshold) and ratio.high <= 1 + threshold
    return Change.SAME if within else Change.UNCERTAIN


def _row(name: str, base: Measurement, head: Measurement, threshold: float, reason: str | None) -> Row:
    """The times of two measurements; UNCERTAIN where there is a reason not to judge them."""
    ratio = unpaired_ratio(base.timing.process_us, head.timing.process_us)
    floor = max(abs(entry.timing.noise_floor.estimate - 1) for entry in (base, head))
    return Row(
        benchmark=name,
        base_us=base.timing.us_per_call,
        head_us=head.timing.us_per_call,
        ratio=ratio,
        floor=floor,
        change=Change.UNCERTAIN if reason else judge(ratio, threshold, floor),
        reason=reason or ("one process a run gives no interval" if ratio.low is None else None),
    )


def _unlike(base: Measurement, head: Measurement) -> str | None:
    """Why two measurements of one name are not of one thing."""
    old, new = ({**entry.setting, **entry.sizes} for entry in (base, head))
    return (
        "; ".join(f"{field} {old[field]} / {new.get(field)}" for field in old if old[field] != new.get(field)) or None
    )


def _nothing(sources: tuple[Source, Source], excluded: tuple[Excluded, ...]) -> str:
    files = f"{sources[0].file} and {sources[1].file}"
    if not excluded:
        return f"{files} have no benchmark in common"
    first = excluded[0]
    return f"{files} have {len(excluded)} benchmarks in common and none comparable: {first.benchmark}: {first.reason}"


def _geometric_mean(rows: tuple[Row, ...]) -> Interval:
    """Without an interval: the rows of a run share its machine's mood, and are not so many independent ratios."""
    return Interval(exp(fmean(log(row.ratio.estimate) for row in rows if row.ratio)), None, None)


def _side(source: Source) -> Side:
    return Side(source.file, source.revision, source.date.partition(".")[0])


def _setting(pairs: list[tuple[Measurement, Measurement]]) -> tuple[str, ...]:
    setting = pairs[0][0].setting
    timings = [entry.timing for pair in pairs for entry in pair]
    rounds = dict.fromkeys(f"{timing.repetitions} × {timing.rounds} rounds" for timing in timings)
    return *(f"{field} {value}" for field, value in setting.items() if value is not None), " or ".join(rounds)


def other_material(base: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[str]:
    """What explains that figures moved without any code."""
    materials = [_materials(run) for run in (base, head)]
    for material, content in materials[0].items():
        if content != materials[1].get(material, content):
            yield f"Not the same in both runs: {material}. Figures measured on it move for that reason."


def _materials(run: Mapping[str, Any]) -> dict[str, Any]:
    """What was read from outside, by what it is called, with the checksums that tell whether it is the same."""
    models = {"the pretrained model": run.get("model"), "the language model": run.get("language_model")}
    texts = run.get("texts")
    materials = {name: model.get("sha256") for name, model in models.items() if isinstance(model, Mapping)}
    for text, source in texts.items() if isinstance(texts, Mapping) else ():
        materials[f"the text “{text}”"] = source.get("sha256") if isinstance(source, Mapping) else None
    return materials


def _reading(threshold: float) -> tuple[str, ...]:
    return (
        "Ratio: time of head over time of base, with a 95 % interval by Welch's t over the logarithms of the "
        "processes' times; it knows the spread inside each run, not that between runs.",
        "Noise: how far the baseline missed itself within a run, the larger of the two.",
        f"SLOWER? and FASTER? lie with the whole interval beyond {100 * threshold:g} %, or beyond "
        f"{FLOOR_MULTIPLE:g} times the noise where that is more; SAME lies within {100 * threshold:g} %; UNCERTAIN "
        "is neither.",
    )
