"""How evenly the experts are used: each router on each input, and what else is measured of it on those that tell most.

Axes: E experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from reports.errors import MissingDataError
from reports.format import registry
from reports.format.fields import spread_fields
from reports.format.inputs import described, input_labels
from reports.format.numbers import Show, exact, fixed, listing, percent, percents, spread
from reports.format.table import EXPERTS, Column, Table, text_column
from reports.records.measurements import Entry
from reports.records.report_data import ReportData
from reports.tables.ranking import among, equals, why_unranked

# On average at most one and a half of the experts get the probability: nearly always the same one does.
_COLLAPSED_BELOW = 1.5
# Of no number of experts that there is: a broken file's entropy, whose exp no computer holds.
_LARGEST_ENTROPY = 300.0
_RANDOM = "random"
TELLING = (_RANDOM, "contextual", "skewed")
"""Noise, real text, and what makes routers collapse: the inputs that tell most."""
# The second is the first with one added to every feature of every token.
_OFFSET = ("plain", "skewed")
# Rounding changes a decision or two: of a figure by seed that differs by more, something else does.
_ALIKE = 1e-3
WITHIN_A_SEED = "Mean ± sd over seeds of what is so within a seed; an expert's number means nothing in another one."


@registry.table("balance", "Largest load, input by input", place=1)
def largest_loads(data: ReportData) -> Table:
    """A row per router, a column per input: the busiest expert's share of all assignments."""
    experts = {entry.num_experts for each in _by_input(data).values() for entry in each.values()}
    even = f"; {listing([percent(1 / number) for number in sorted(experts)])} is even" if len(experts) < 3 else ""
    return _by_inputs(
        data,
        name="balance",
        title="Largest load, input by input",
        caption=f"The busiest expert's share of all assignments{even}. Experts: what a token selects. A router that "
        "selects all of them is even by definition, whatever its probabilities: how those concentrate, the next table "
        "says.",
        field="max_load",
        figure=_largest_load,
        show=percents,
        findings=(*_ends(data), *_alike(data)),
    )


@registry.table("balance", "Effective experts, input by input", place=2)
def effective_experts(data: ReportData) -> Table:
    """The same of the mean probabilities; finds the routers that have collapsed onto one expert."""
    return _by_inputs(
        data,
        name="effective-experts",
        title="Effective experts, input by input",
        caption="The exponential of the entropy of the mean probabilities, those of experts that are not selected too: "
        "E where all get as much, 1 where one gets everything. It shows a collapse that no load can show: that of a "
        "router which selects every expert for every token, and gives all of the weight to one.",
        field="effective_experts",
        figure=_effective_experts,
        show=spread(fixed(2)),
        findings=_collapse(data),
    )


def _by_inputs(
    data: ReportData,
    *,
    name: str,
    title: str,
    caption: str,
    field: str,
    figure: Callable[[Entry], dict[int, float] | None],
    show: Show,
    findings: tuple[str, ...],
) -> Table:
    found, labels = _by_input(data), input_labels(data)
    rows = []
    for router in data.routers:
        entries = {name: each[router] for name, each in found.items() if router in each}
        if entries:
            row: dict[str, object] = {
                "router": router,
                "experts_per_token": next(iter(entries.values())).experts_per_token,
            }
            for input_name in found:
                values = figure(entries[input_name]) if input_name in entries else None
                row |= spread_fields(f"{field}_{input_name}", list((values or {}).values()))
            rows.append(row)
    return Table(
        name=name,
        title=title,
        caption=caption,
        notes=(WITHIN_A_SEED, described(data, list(found))),
        rows=rows,
        columns=(
            text_column("Router", "router"),
            EXPERTS,
            *(Column(labels[each], (f"{field}_{each}", f"{field}_{each}_sd"), show) for each in found),
        ),
        findings=findings,
    )


def _by_input(data: ReportData) -> dict[str, dict[str, Entry]]:
    """The router alone on each input that is shown: input -> router -> entry; refuses an empty answer."""
    found = {name: data.find("router", name) for name in registry.inputs_shown(data)}
    if not found:
        raise MissingDataError("the files hold no measurement of the router alone")
    return found


def of_seeds(figure: Callable[..., float], entry: Entry, *metrics: str) -> dict[int, float] | None:
    """A figure of some metrics, seed by seed and never of their means; None where it is unknown in a seed."""
    by_seed = [entry.behaviour.metric(name).by_seed for name in metrics]
    values = {seed: [of[seed] for of in by_seed] for seed in by_seed[0] if all(seed in of for of in by_seed)}
    known = {seed: figure(*each) for seed, each in values.items() if None not in each}
    return known if len(known) == len(values) else None


def largest_load(max_violation: float, num_experts: int) -> float:
    """max n / Σ n from MaxVio = max n / mean n − 1."""
    return (1 + max_violation) / num_experts


def _largest_load(entry: Entry) -> dict[int, float] | None:
    return of_seeds(lambda violation: largest_load(violation, entry.num_experts), entry, "max_violation")


def _effective_experts(entry: Entry) -> dict[int, float] | None:
    """exp H(mean p), from H(mean p) = specialisation + mean H(p)."""
    return of_seeds(
        lambda entropy, specialisation: math.exp(min(entropy + specialisation, _LARGEST_ENTROPY)),
        entry,
        "token_entropy",
        "specialisation",
    )


def _mean_effective(entry: Entry | None) -> float | None:
    values = _effective_experts(entry) if entry else None
    return fmean(values.values()) if values else None


def _collapse(data: ReportData) -> tuple[str, ...]:
    """A sentence for each input on which some router has collapsed."""
    found = _by_input(data)
    usual = {router: _mean_effective(entry) for router, entry in found.get(_RANDOM, {}).items()}
    return tuple(
        sentence
        for name, entries in found.items()
        for sentence in _collapse_on(name, list(entries.values()), {} if name == _RANDOM else usual)
    )


def _collapse_on(input_name: str, entries: Sequence[Entry], usual: Mapping[str, float | None]) -> list[str]:
    collapsed, everything = [], []
    for entry in entries:
        effective, elsewhere = _mean_effective(entry), usual.get(entry.router)
        if effective is None or effective >= _COLLAPSED_BELOW:
            continue
        compared = "" if elsewhere is None else f", {elsewhere:.2f} on random input"
        collapsed.append(f"{entry.router} ({effective:.2f} effective experts{compared})")
        if entry.experts_per_token == entry.num_experts:
            everything.append(f"{entry.router} selects all {exact(entry.num_experts)} experts there as everywhere")
    if not collapsed:
        return []
    meaning = f" {listing(everything)}: its load stays even, and its weight is one expert's." if everything else ""
    return [f"On “{input_name}” input the probability collapses onto one expert for {listing(collapsed)}.{meaning}"]


def _ends(data: ReportData) -> tuple[str, ...]:
    """The least and the most even of equals on the inputs that tell most; of whole runs alone."""
    said, equal = [], None
    for name, entries in _by_input(data).items():
        same, _ = equals(list(entries.values()))
        loads = {entry.router: fmean(values.values()) for entry in same if (values := _largest_load(entry))}
        if name in TELLING and len(loads) > 1 and not why_unranked(data, list(entries.values()), data.routers):
            least, most = min(loads, key=loads.__getitem__), max(loads, key=loads.__getitem__)
            said.append(f"{percent(loads[least])} ({least}) to {percent(loads[most])} ({most}) on “{name}”")
            equal = same[0]
    return (f"Largest load {among(equal)}: {', '.join(said)}.",) if equal else ()


def _alike(data: ReportData) -> tuple[str, ...]:
    """Which routers an offset of all features leaves as they are, in loads and in probabilities, and why."""
    found, (plain, skewed) = _by_input(data), _OFFSET
    before, after = found.get(plain, {}), found.get(skewed, {})
    same = [
        router
        for router, entry in after.items()
        if router in before
        and all(_equal(figure(before[router]), figure(entry)) for figure in (_largest_load, _effective_experts))
    ]
    if not same:
        return ()
    verb = "decides" if len(same) == 1 else "decide"
    return (
        f"{listing(same)} {verb} the same on “{skewed}” as on “{plain}”: the first is the second with one added to "
        "every feature, and a router that begins with a LayerNorm takes away what all features of a token share.",
    )


def _equal(first: Mapping[int, float] | None, second: Mapping[int, float] | None) -> bool:
    """Whether two figures are the same in every seed."""
    if not first or not second or first.keys() != second.keys():
        return False
    return all(abs(first[seed] - second[seed]) <= _ALIKE for seed in first)
