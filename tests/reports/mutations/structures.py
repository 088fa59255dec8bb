"""Files whose structure is spoilt somewhere: other types, sizes out of all proportion, texts that are none."""

import copy
from typing import Any

from hypothesis import strategies as st

DEEP: Any = 0
for _ in range(200):
    DEEP = [DEEP]
STRANGE = (
    None, True, False, -1, 0, 1, 7, 0.5, -0.0, 1e-320, 1e99, 1e300, -1e300, 2**31, 2**62, 2**63, 10**30, 10**400,
    "", "x", " ", "\ud800", "a\udfffb", "\x00", "\u202e\u2066", "=1+1", "<script>", "$x^2$ \x1b[31m\n", "x" * 300,
    "x" * 1_000_000, "µ" * 15_000, [], [1], [None], [[]], {}, {"a": 1}, {"\ud800": 1}, {"x" * 30_000: 1}, DEEP,
    [0] * 100_000,
)  # fmt: skip


def child(draw, value):
    """A key of what a container holds."""
    return draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))


@st.composite
def spoilt(draw, document):
    """The document with one to three values replaced, removed, repeated or moved. It is changed in place."""
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        container = document
        key = child(draw, container)
        while isinstance(container[key], dict | list) and container[key] and draw(st.integers(0, 7)):
            container = container[key]
            key = child(draw, container)
        draw(st.sampled_from((replace, replace, replace, remove, repeat, exchange, add)))(draw, container, key)
        if not document:
            break
    return document


def replace(draw, container, key):
    # A copy, for what is put in may be spoilt in turn.
    container[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))


def remove(draw, container, key):
    del container[key]


def repeat(draw, container, key):
    if isinstance(container, list):
        container += [copy.deepcopy(container[key]) for _ in range(draw(st.sampled_from((1, 2, 40))))]


def exchange(draw, container, key):
    other = child(draw, container)
    container[key], container[other] = container[other], container[key]


def add(draw, container, key):
    if isinstance(container, dict):
        container[draw(st.sampled_from(("unknown", "__class__", "\x00", "source", "schema")))] = copy.deepcopy(
            container[key]
        )
