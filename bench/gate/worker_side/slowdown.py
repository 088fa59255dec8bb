"""A call made slower by a known share: what the gate's self-test has to find."""

from __future__ import annotations

import time

from bench.timing.interleave import Call


def slowed(call: Call, share: float) -> Call:
    """The call, and then busy work for that share of the time it took itself.

    Busy, not asleep: a sleeping process gives its core away and comes back to colder caches, which no slower code does.
    The first call of a process takes a quarter of a second for what happens once in it. That is no part of the call's
    own time, a thousand times which would be minutes: the first call is left as it is.
    """
    is_first = True

    def call_and_work() -> object:
        nonlocal is_first
        start = time.perf_counter_ns()
        result = call()
        now = time.perf_counter_ns()
        end = now + (0 if is_first else share * (now - start))
        is_first = False
        while time.perf_counter_ns() < end:
            pass
        return result

    return call_and_work
