"""How far the numbers of a run can be trusted: green, amber or red, with the reasons, and what differences count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import comb
from typing import Any, ClassVar

from reports.format.numbers import listing
from reports.judging.intervals import CONFIDENCE
from reports.records.record import mapping_in
from reports.records.report_data import PROVES_NOTHING, ReportData, Source
from reports.records.run import NoiseRecord

COARSE = 0.2
"""A kind of measurement that cannot tell a difference of a fifth is called coarse."""
_UNLIKELY = 1 - CONFIDENCE
_BEYOND_CHANCE = 1e-3


class Level(IntEnum):
    """How far to trust; the worst of all reasons is that of the run."""

    GREEN = 0
    AMBER = 1
    RED = 2


_HEADLINES = {
    Level.GREEN: "Nothing speaks against its times, for this machine.",
    Level.AMBER: "To be read with care, because:",
    Level.RED: "Nobody should be ranked by these numbers, because:",
}
_WITHOUT_TIMES = "No times were measured."


@dataclass(frozen=True)
class TrustBox:
    """The box at the head of a page.

    Attributes:
        level: the worst of the reasons.
        headline: what that means, a sentence.
        differences: kind of measurement -> the smallest difference that counts, in words.
        reasons: a sentence each, the worst first.
        faults: how many of them, the first ones, are above green.
    """

    level: Level
    headline: str
    differences: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    faults: int = 0

    lead: ClassVar[str] = "Smallest difference that is found four times in five, from the best to the worst input:"
    """What stands before the differences."""


Reason = tuple[Level, str]


def trust_box(data: ReportData, mixed: Sequence[str] = ()) -> TrustBox:
    """Of all files of a report.

    Args:
        data: whole.
        mixed: what is said of times of several machines or settings, which do not compare; empty where there is one.
    """
    sources = data.sources_of(data.measurements)
    found: list[Reason] = [(Level.RED, sentence) for sentence in mixed]
    found += [reason for source in sources for check in _CHECKS for reason in check(source)]
    if data.fine_tuning and data.fine_tuning.quick:
        found.append((Level.RED, f"The fine-tuning is a quick run on a subsample. {PROVES_NOTHING}"))
    level = max((each for each, _ in found), default=Level.GREEN)
    worst_of = {said: each for each, said in sorted(found)}  # one said twice counts as the worse
    return TrustBox(
        level=level,
        headline=_HEADLINES[level] if sources or level else _WITHOUT_TIMES,
        differences=tuple(differences(data).items()),
        reasons=tuple(dict.fromkeys(said for _, said in sorted(found, key=lambda reason: -reason[0]))),
        faults=sum(each > Level.GREEN for each in worst_of.values()),
    )


def differences(data: ReportData) -> dict[str, str]:
    """Label of a scenario -> from which difference on a group of it can tell two routers apart, over its inputs."""
    found: dict[str, list[float]] = {}
    for source in data.sources_of(data.measurements):
        for label, resolutions in resolutions_of(source).items():
            found.setdefault(label, []).extend(resolutions)
    return {label: percent_range(resolutions) for label, resolutions in found.items()}


def resolutions_of(source: Source) -> dict[str, list[float]]:
    """Label of a scenario -> the smallest difference that each of its groups can tell, shares of one."""
    found: dict[str, list[float]] = {}
    for noise in source.records.noise:
        record = source.records.scenarios.get(noise.scenario)
        found.setdefault(record.label if record else noise.scenario, []).append(noise.resolution)
    return found


def percent_range(resolutions: Sequence[float]) -> str:
    """`1.2 %`, or `1.2 to 2.1 %`."""
    low, high = (f"{100 * each:.1f}" for each in (min(resolutions), max(resolutions)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def missed(noise: Sequence[NoiseRecord]) -> int:
    """How many self-comparisons miss 1 with their 95 % interval."""
    return sum(not each.noise_floor.holds(1) for each in noise)


def by_chance(misses: int, comparisons: int) -> float:
    """The probability of so many misses or more where each interval misses as often as it may."""
    rate = 1 - CONFIDENCE
    return sum(comb(comparisons, k) * rate**k * CONFIDENCE ** (comparisons - k) for k in range(misses, comparisons + 1))


def _warned(source: Source) -> Iterator[Reason]:
    """A run that proves nothing, or of which a part is missing."""
    yield from ((Level.RED, f"{source.file} {said}") for said in source.warnings)


def _self_comparisons(source: Source) -> Iterator[Reason]:
    noise = source.records.noise
    if not noise:
        yield Level.AMBER, "The file states no noise floor, so that nothing says which differences count."
        return
    misses = missed(noise)
    chance = by_chance(misses, len(noise))
    level = Level.RED if chance < _BEYOND_CHANCE else Level.AMBER if chance < _UNLIKELY else Level.GREEN
    verdict = "more than chance explains" if level else "one in twenty does by chance"
    yield level, f"Of {len(noise)} comparisons of equal code {misses or 'none'} found a difference; {verdict}."


def _coarse(source: Source) -> Iterator[Reason]:
    kinds = [label.lower() for label, each in resolutions_of(source).items() if min(each) > COARSE]
    if kinds:
        yield Level.AMBER, f"Coarse: differences of more than {100 * COARSE:.0f} % may be missed in {listing(kinds)}."


def _scope(source: Source) -> Iterator[Reason]:
    """What was measured on, and in: of which others the numbers say little."""
    device, threads = source.run.get("device"), source.run.get("threads")
    if device == "cpu" and isinstance(threads, int):
        yield (
            Level.GREEN,
            f"On a CPU, with {threads} {'thread' if threads == 1 else 'threads'}: ratios on a GPU differ.",
        )
    models = {"Encoder of real text": mapping_in(source.run, "model"), "Language model": source.language_model}
    for called, model in models.items():
        said = model.get("note") or model.get("name") if model else None
        if said:
            yield Level.GREEN, f"{called}: {said}."


def _load(source: Source) -> Iterator[Reason]:
    """The load average over a minute, before the run and after it, beside the cores that there are."""
    loads = mapping_in(source.run, "load")
    minute = {when: value for when in ("before", "after") if (value := _of_a_minute(loads.get(when))) is not None}
    if not minute:
        return
    cores = _cores(source)
    busy = cores is not None and max(minute.values()) > cores
    said = " and ".join(f"{value:.1f} {when}" for when, value in minute.items())
    beside = "" if cores is None else f" on {cores} {'core' if cores == 1 else 'cores'}"
    yield (
        Level.AMBER if busy else Level.GREEN,
        f"Load average {said} the run{beside}{': other programs were running' if busy else ''}.",
    )


def _of_a_minute(loads: object) -> float | None:
    """The first of the averages over one, five and fifteen minutes."""
    first = loads[0] if isinstance(loads, list) and loads else None
    return float(first) if isinstance(first, int | float) else None


def _cores(source: Source) -> int | None:
    machines: tuple[Mapping[str, Any], ...] = (mapping_in(source.run, "machine"), source.machine)
    counts = [mapping_in(machine, "cpu").get(name) for machine in machines for name in ("logical", "count", "cores")]
    return next((count for count in counts if isinstance(count, int) and count > 0), None)


def _committed(source: Source) -> Iterator[Reason]:
    if source.commit.get("dirty") is True:
        yield Level.AMBER, "The code had uncommitted changes: its commit does not say what was measured."


def _throttled(source: Source) -> Iterator[Reason]:
    conditions = mapping_in(source.run, "conditions")
    cards = [mapping_in(mapping_in(conditions, when), "gpu") for when in ("before", "after")]
    reasons = dict.fromkeys(str(reason) for card in cards for reason in card.get("throttled_by") or [])
    if reasons:
        yield Level.AMBER, f"The GPU was slowed down by {listing(list(reasons))}."


_CHECKS: tuple[Callable[[Source], Iterator[Reason]], ...] = (
    _warned,
    _self_comparisons,
    _coarse,
    _load,
    _committed,
    _throttled,
    _scope,
)
