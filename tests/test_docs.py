"""What the documentation says is true: its examples run, its files and options exist."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from routers import registry
from routers.reference import check_router

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "bench/README.md", "bench/gate/README.md", "harness/README.md")
EXAMPLES = {page: re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL) for page in PAGES}


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    with registry.restored_registry():
        yield


def test_there_are_examples() -> None:
    assert sum(map(len, EXAMPLES.values())) >= 6


@pytest.mark.parametrize("page", [page for page, examples in EXAMPLES.items() if examples])
def test_the_examples_of_a_page_run_in_their_order(page: str) -> None:
    torch.manual_seed(0)
    names = {"__name__": "example"}
    for number, example in enumerate(EXAMPLES[page], 1):
        exec(compile(example, f"{page}, example {number}", "exec"), names)


def test_the_readmes_router_keeps_the_contract(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(# cosine_router.py\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "cosine_router.py"
    path.write_text(example)
    name = registry.register_from_path(f"{path}:CosineRouter")
    assert name == "cosine_router"
    router = registry.create_router(name, hidden_size=32, num_experts=4, top_k=2)
    check_router(router, torch.randn(20, 32))


def test_tox_environments_that_are_named_exist() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for page in PAGES:
        for names in re.findall(r"tox run -e ([\w,]+)", (ROOT / page).read_text()):
            for name in names.split(","):
                assert f"testenv:{name}" in tox, f"{page} names the tox environment {name}"


def test_options_that_are_named_exist(pytestconfig: pytest.Config) -> None:
    table = re.findall(r"^\| (`--.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    options = re.findall(r"--[a-z-]+", " ".join(table))
    assert len(options) >= 6
    for option in options:
        assert pytestconfig.getoption(option, default="unknown") != "unknown"


def test_options_of_the_gate_that_are_named_exist() -> None:
    known = subprocess.run([sys.executable, "-m", "bench.gate", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert known.returncode == 0
    page = (ROOT / "bench" / "gate" / "README.md").read_text()
    named = set(re.findall(r"(--[a-z][a-z-]+)", page)) - {"--benchmark-compare-fail"}
    assert len(named) >= 6
    assert not named - set(re.findall(r"--[a-z-]+", known.stdout))


def test_ci_calls_the_readmes_test_command() -> None:
    command = ".venv/bin/tox run -e tests"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()
