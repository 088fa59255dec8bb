"""The two lists of tested versions do not drift apart."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


@pytest.mark.parametrize("extra", ["browser", "kernel"])
def test_what_an_environment_of_its_own_is_tested_with_is_within_the_bounds_of_its_extra(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = pins(f"constraints-{extra}.txt")
    for needed in map(Requirement, extras[extra]):
        assert pinned[needed.name] in needed.specifier
