"""How far experts know domains. Axes: T tokens, L layers, E experts, K experts per token, G domains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.traces.errors import TraceError
from reports.traces.measuring import measures
from reports.traces.tokens import Tokens
from reports.traces.trace import Array

MOST_DOMAINS = 64


@dataclass(frozen=True, eq=False)
class Domains:
    """How far experts know domains.

    Attributes:
        names: of the G domains, sorted.
        load: assignments, (G, L, E).
        information: mutual information of an assignment's expert and its domain in nats, (L,).
        by_chance: what that would be in the mean of domains that have nothing to do with experts, (L,).
    """

    names: tuple[str, ...]
    load: Array
    information: Array
    by_chance: Array


def domains_of(tokens: Tokens, mask: Array) -> tuple[tuple[str, ...], Array | None]:
    """The names, sorted, and each token's number among them (T,); None where tokens have no labels.

    Raises:
        TraceError: there are more than can be shown.
    """
    labels = tokens.column("domains")
    if labels is None:
        return (), None
    names, places = np.unique(labels.astype(str), return_inverse=True)
    used = np.unique(places[mask])
    if len(used) > MOST_DOMAINS:
        raise TraceError(f"{tokens.source}: {len(used):,} different domains, expected at most {MOST_DOMAINS}")
    order = np.zeros(len(names), dtype=np.intp)
    order[used] = np.arange(len(used))
    return tuple(map(str, names[used])), order[places]


def specialisation(names: tuple[str, ...], load: Array, top_k: int) -> Domains:
    """I(expert; domain) = H(f) − Σ_d p_d H(f | d), of assignments, and what chance gives in the mean.

    That is (E' − K)(G − 1)/2N of N assignments to E' experts that occur: the bias of the plug-in estimate (Miller
    1955), (E' − 1)(G − 1)/2N for independent draws, times the (E' − K)/(E' − 1) by which K different experts of a token
    vary less.
    """
    total = load.sum(axis=0)
    assignments = total.sum(axis=-1)
    parts = load.sum(axis=-1) / np.maximum(assignments, 1)  # (G, L)
    within = np.nan_to_num(measures.load_entropy(load)) * parts
    information = np.nan_to_num(measures.load_entropy(total)) - within.sum(axis=0)
    occurring = (total > 0).sum(axis=-1)
    by_chance = np.maximum(occurring - top_k, 0) * (len(names) - 1) / (2 * np.maximum(assignments, 1))
    return Domains(names, load, np.maximum(information, 0), by_chance)
