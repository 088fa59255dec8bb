"""The questions that a reader brings, each with its answer in a sentence or two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from reports.format.numbers import duration, fixed, listing, percent, significant
from reports.judging import paper
from reports.judging.order import STOCK
from reports.judging.standing import UNSEPARATED, Standing
from reports.overview.against_paper import COMPARED, OPEN, claims, contradiction, in_order, verdicts
from reports.overview.by_seed import smallest
from reports.overview.evenness import most_even_of
from reports.overview.headline import alone, inside, inside_scenario, on_text, short, some, text_input, timed_input
from reports.overview.perplexities import COMMAND, perplexities
from reports.overview.phrases import (
    apart,
    beside,
    between,
    corrected,
    each_of,
    is_baseline,
    load_of,
    load_of_others,
    may_be_missed,
    over_seeds,
    perplexity_of,
    price_of,
    ratio_of,
    time_of,
    to_tune,
    two_digits,
    undecided,
)
from reports.records.report_data import ReportData
from reports.tables.language_model.times import standings_to_stock
from reports.tables.peers import in_short
from reports.tables.ranking import among, by_time, equals, why_unranked


@dataclass(frozen=True)
class Answer:
    """One line of the first screen.

    Attributes:
        question: in a word or two.
        text: the answer, which begins with its subject where there is no name.
        router: whom it names, whose row of the first table is linked.
        section: the anchor of the section that holds the whole of it.
        command: what measures it, where it was not.
    """

    question: str
    text: str
    router: str = ""
    section: str = ""
    command: str = ""

    @property
    def plain(self) -> str:
        """All of it as a sentence, for a terminal and for Markdown."""
        command = f" {self.command}" if self.command else ""
        return f"{self.question}: {short(self.router)}{self.text}{command}"


def answers(data: ReportData) -> tuple[Answer, ...]:
    """What the measurements of one machine and setting answer; of a run that proves nothing, nothing."""
    inconclusive = [source for source in data.sources_of(data.measurements) if not source.conclusive]
    if inconclusive:
        return (Answer("Result", f"None: a {inconclusive[0].preset} run proves that the parts work, and no more."),)
    return tuple(answer for find in _ANSWERS for answer in [find(data)] if answer)


def fastest(data: ReportData) -> Answer:
    """Among those that select as many experts as were asked for, the others apart."""
    question, entries = "Fastest", alone(data)
    if not entries:
        return Answer(question, "Not measured here; this measures it:", command="pytest bench -k bench_router")
    same, others = equals(list(entries.values()))
    reason = why_unranked(data, list(entries.values()), data.routers)
    if reason or not same:
        return Answer(question, f"Nobody is named, because {reason or 'all select another number of experts'}.")
    ranking = by_time(same)
    first = ranking.first
    over = "" if is_baseline(first) else f", {time_of(first)}"
    level, behind = ([entry.router for entry in each] for each in (ranking.level, ranking.behind))
    return Answer(
        question,
        f", {duration(first.timing.us_per_call)} for {first.num_tokens:,} tokens{over}, {among(first)} "
        f"(“{timed_input(data)}” input). {beside(level, behind, lambda router: time_of(entries[router]))}"
        f"{apart(others, time_of)}",
        router=first.router,
        section="latency",
    )


def most_even(data: ReportData) -> Answer:
    """On real text, by the load of the busiest expert."""
    question, entries, name = "Most even on real text", on_text(data), text_input(data)
    if not entries:
        return Answer(question, "Not measured here; this measures it:", command="pytest bench -k contextual")
    same, others = equals(list(entries.values()))
    ranking = most_even_of(same)
    reason = why_unranked(data, list(entries.values()), data.routers)
    if reason or not ranking:
        return Answer(question, f"Nobody is named, because {reason or 'the load of no router is known'}.")
    first = entries[ranking.first]
    return Answer(
        question,
        f": its busiest of {first.num_experts} experts has {load_of(first)}{over_seeds(first)} of the assignments on "
        f"“{name}”, where {percent(1 / first.num_experts)} would be even{price_of(data, first.router)}. "
        f"{undecided(ranking)}{beside(ranking.level, ranking.behind, lambda router: load_of(entries[router]))}"
        f"{apart(others, load_of_others)}",
        router=first.router,
        section="balance",
    )


def time_inside(data: ReportData) -> Answer:
    """Beside the model's own gates."""
    entries, scenario = inside(data), inside_scenario(data)
    if not entries:
        command = "pytest bench -k bench_language_model"
        return Answer("Time inside a model", "Not measured here; this measures it:", command=command)
    question = f"Time inside a model ({scenario})"
    same, others = equals([entry for entry in entries if entry.router != STOCK])
    reason = why_unranked(data, entries, ())
    if reason or not same:
        return Answer(question, f"Nobody is named, because {reason or 'all select another number of experts'}.")
    standings = standings_to_stock(entries)
    groups = {
        word: [entry for entry in same if standings[id(entry)] in kinds]
        for word, kinds in {"Level": UNSEPARATED, "Faster": (Standing.FASTER,), "Slower": (Standing.SLOWER,)}.items()
    }
    level = groups.pop("Level")
    others_said = [f" {word}: {each_of(found, ratio_of)}." for word, found in groups.items() if found]
    return Answer(
        question,
        f"Not told apart from the model's own gates{corrected(entries)}: "
        f"{'all' if len(level) == len(same) > 1 else f'{len(level)} of'} {len(same)} "
        f"{among(same[0]).removeprefix('of the ')}{between(level)}.{may_be_missed(level)}"
        f"{''.join(others_said)}{apart(others, ratio_of)}",
        section="language-model",
    )


def quality_inside(data: ReportData) -> Answer:
    """Perplexity after fine-tuning, or what measures it."""
    question, read = "Quality inside a model", perplexities(data)
    if not read:
        return Answer(question, "Not measured here; this measures it:", command=COMMAND.format(to_tune(data)))
    if data.tuned.quick:
        return Answer(question, "Nobody is named, because the fine-tuning is a quick run.", section="fine-tuning")
    replaced = {router: each for router, each in read.items() if router != STOCK} or read
    ranking = smallest({router: each.by_seed for router, each in replaced.items()})
    assert ranking is not None  # each has a seed
    first, stock = replaced[ranking.first], read.get(STOCK)
    own = f"; the model's own gates, tuned likewise: {fixed(2)(stock.interval.estimate)}" if stock else ""
    return Answer(
        question,
        f" from the {first.start} start, perplexity {perplexity_of(first.interval)} after fine-tuning{own}. "
        f"{beside(ranking.level, ranking.behind, lambda router: perplexity_of(replaced[router].interval))}",
        router=first.router,
        section="fine-tuning",
    )


def beside_the_paper(data: ReportData) -> Answer | None:
    """Counts of verdicts, and the contradiction that matters most."""
    tally: Counter[str] = sum(verdicts(data).values(), Counter())
    turned = contradiction(data)
    if not tally and not turned:
        return None
    compared = sum(tally[verdict] for verdict in COMPARED)
    counts = [f"{tally[verdict]} {verdict}" for verdict in COMPARED if tally[verdict]]
    said = (
        f"Of {compared} numbers of arXiv {paper.NUMBER} {listing(counts)}"
        if compared
        else "No number is of the paper's sizes"
    )
    said += f"; {tally[OPEN]} more it leaves undefined." if tally[OPEN] else "."
    held = claims(data)
    if held:
        outcomes = [f"{claim} ({extent} router{'' if extent == 'no' else 's'})" for claim, extent in held.items()]
        said += f" Claims about pretrained input, and for how many routers they hold: {listing(outcomes)}."
    same, pairs = in_order(data)
    if pairs:
        said += f" {same} of {pairs} pairs of its routers stand in its order of latency, where chance has half of them."
    if turned:
        slower, faster, printed = turned
        named = paper.NAMES.get(slower.router, slower.router)
        ratio_here = (
            ratio_of(slower)
            if faster.router == slower.timing.baseline
            else f"{significant(math.exp(slower.shift_to(faster).log))}"
        )
        said += (
            f" One contradiction matters: in the paper {named} takes {two_digits(printed)} times as long as "
            f"{paper.NAMES.get(faster.router, faster.router)}, here {ratio_here} times."
        )
    return Answer("Against the paper", said, section="random-input")


def newcomers(data: ReportData) -> Answer | None:
    """Routers that the paper has not, and measurements that are missing."""
    if not data.measurements:
        return None
    new = [short(router) for router in data.routers if router not in paper.NAMES]
    missing = _missing(data)
    said = [f"Not in the paper: {some(new)}" if new else "All are the paper's"]
    if missing:
        lost = some(f"{short(router)} ({count:,})" for router, count in missing.items())
        said.append(f"failed or left out, with the number of measurements: {lost}")
    elif not any(source.incomplete for source in data.sources_of(data.measurements)):
        said.append("none failed")
    return Answer("New or failed routers", f"{'; '.join(said)}.")


def beside_others(data: ReportData) -> Answer | None:
    """Our time over that of others' code; nothing where none was asked for."""
    return Answer("Beside others' code", in_short(data), section="peers") if data.peer_pairs else None


_ANSWERS: tuple[Callable[[ReportData], Answer | None], ...] = (
    fastest,
    most_even,
    time_inside,
    quality_inside,
    beside_the_paper,
    beside_others,
    newcomers,
)


def _missing(data: ReportData) -> dict[str, int]:
    """Router -> in how many groups of router benchmarks others were measured and it was not."""
    groups: dict[tuple[str, str], set[str]] = {}
    for entry in data.entries:
        groups.setdefault(entry.group, set()).add(entry.router)
    counts = {router: sum(router not in there for there in groups.values()) for router in data.routers}
    return {router: count for router, count in counts.items() if count}
