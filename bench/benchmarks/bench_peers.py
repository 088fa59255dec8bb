"""Others' gates and layers beside ours: the same work, the same weights, the same run."""

from __future__ import annotations

from bench.peers.scenario import PeerScenario
from bench.scenario import register_scenario

SCENARIO = register_scenario(
    PeerScenario(
        name="peers",
        label="Beside others' code",
        description="the same work by this suite's code and by others'",
        measured_by_default=False,
    )
)

bench_peers = SCENARIO.benchmark()
