"""The two lists of tested versions do not drift apart."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return {
        package.lower().replace("_", "-"): version for package, _, version in (line.partition("==") for line in lines)
    }


def test_the_extra_gptq_is_tested_with_the_same_versions_but_of_numpy() -> None:
    everywhere, with_gptq = pins("constraints.txt"), pins("constraints-gptq.txt")
    different = {package for package, version in everywhere.items() if with_gptq.get(package) != version}
    assert different == {"numpy"}
    assert {"gptqmodel", "optimum", "defuser"} <= with_gptq.keys()
