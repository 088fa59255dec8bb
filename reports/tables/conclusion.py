"""A claim over several routers in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from reports.format.numbers import some_of
from reports.judging.order import STOCK
from reports.judging.verdict import Claim


def conclusion(claims: Mapping[str, str]) -> str:
    """`holds in part (7 of 9): does not hold for hash; unclear for mlp`; those for which it holds go without saying."""
    of = f"({sum(claim == Claim.HOLDS for claim in claims.values())} of {len(claims)})"
    if len(set(claims.values())) == 1:
        claim = next(iter(claims.values()))
        return f"{'is unclear' if claim == Claim.UNCLEAR else claim} {of}"
    others = {name: claim for name, claim in claims.items() if claim != Claim.HOLDS}
    overall = "is not supported" if len(others) == len(claims) else "holds in part"
    return f"{overall} {of}: {_groups(others, Claim)}"


def grouped(words: Mapping[str, str], order: Iterable[str]) -> str:
    """Names by what is said of them, `helps for a and b; harms for c`, in the order given."""
    if len(words) > 2 and len(set(words.values())) == 1:
        return f"{next(iter(words.values()))} for all {len(words)} routers"
    return _groups(words, order)


def _groups(words: Mapping[str, str], order: Iterable[str]) -> str:
    groups = {word: [name for name, its in words.items() if its == word] for word in order}
    return "; ".join(f"{word} for {some_of(names, words)}" for word, names in groups.items() if names)


def by_start(
    what: str, rows: Sequence[Mapping[str, object]], field: str, conclude: Callable[[Mapping[str, str]], str]
) -> tuple[str, ...]:
    """`WHAT: CONCLUSION.` for each start, which stands for `{}`, from what a field says of each replaced router."""
    return tuple(f"{what.format(start)}: {conclude(found)}." for start, found in words_by_start(rows, field).items())


def words_by_start(rows: Sequence[Mapping[str, object]], field: str) -> dict[str, dict[str, str]]:
    """What a field says of each replaced router, start -> router -> word; the model's own gates are no finding."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[field] and row["router"] != STOCK:
            found.setdefault(str(row["start"]), {})[str(row["router"])] = str(row[field])
    return found
