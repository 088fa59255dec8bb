"""Workers that answer whatever a hostile revision may make them answer, for `fake_worker.py`'s key `on`."""

from __future__ import annotations

import random
from collections.abc import Iterator

VERBS = ("collect", "prepare", "facts", "load", "time")
NONSENSE = (
    "{}", "[]", "0", "-1", "1e999", "NaN", "-Infinity", "true", '"text"', "[[]]", "[0]", "[-5]", '["x"]', "[1.5]",
    "[NaN]", "[true]", "[null]", f"[{2**70}]", f"[{'9' * 4000}]", "9" * 5000, "[" * 200_000, '"\\ud800"',
    "[1, 2, 3, 4, 5, 6, 7]",
    '{"protocol": 1}', '{"protocol": true, "routers": "x", "benchmarks": []}',
    '{"protocol": 1, "routers": 5, "benchmarks": [[]]}', '{"protocol": 1, "routers": "a\\u0000b", "benchmarks": []}',
    '{"protocol": 1, "routers": "/", "benchmarks": ["no bars"]}',
    '{"protocol": 1, "routers": "/", "benchmarks": ["a | b | \\u001b[2J"]}',
    '{"protocol": 1, "routers": "/", "benchmarks": ["a | b | c", "a | b | c"]}',
    '{"random": [0, -1]}', '{"random": "32 x 64"}', '{"random": [32]}', '{"checks": {}, "figures": []}',
    '{"checks": {"router | random | linear": 5}, "figures": {}}',
    '{"checks": {"router | random | linear": null, "router | random | hash": null}, "figures": []}',
    '{"checks": {"router | random | linear": null, "router | random | hash": null}, "figures": [["a", "b"]]}',
)  # fmt: skip
"""No right answer to any of the verbs."""
RAW = (
    "say garbage", "say 5", "say null", "say {}", 'say {"nope": 1}', 'say {"ok": 1, "error": 2}', 'say {"ok": }',
    'say {"error": "\\u001b[2J\\u202eNo regression"}', 'say {"error": {"a": [1]}}',
    f'say {{"error": "{"x" * 100_000}"}}',
    "hex ff00fe", "hex 1b5b324a", "exit", "exit in silence", "signal", "signal 37", "signal 9", "half a line", "colour",
    "error", "close", "leave", "orphan", "hang", "flow", "flood",
)  # fmt: skip
"""What else a process can do; see `fake_worker.misbehave`."""


def hostile_workers(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """So many: the verb that is answered wrongly, and how. Half of them lie, half misbehave."""
    generator = random.Random(seed)
    for index in range(count):
        lie = f'say {{"ok": {generator.choice(NONSENSE)}}}'
        yield {generator.choice(VERBS): generator.choice(RAW) if index % 2 else lie}
