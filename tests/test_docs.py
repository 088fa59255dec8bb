"""What the documentation says is true: its examples run, its files and options exist."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.gate.command import main as gate
from routers import registry
from routers.reference.check import check_router
from tests.docs.command_lines import parser_of

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
# The recipes of CONTRIBUTING.md are carried out by test_recipes.py, and the page of GPTQ by the tests in tests/gptq.
EXECUTED = [page for page in PAGES if page not in ("CONTRIBUTING.md", "docs/how-to/gptq.md")]
EXAMPLES = {page: re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL) for page in EXECUTED}


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


@pytest.mark.parametrize("page", ["docs/tutorial/first-run.md", "docs/how-to/own-router.md"])
def test_the_documented_router_keeps_the_contract(page: str, tmp_path: Path) -> None:
    (example,) = [example for example in EXAMPLES[page] if example.startswith("# cosine_router.py\n")]
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
    table = re.findall(r"^\| (`--.*?) \|", (ROOT / "docs" / "reference" / "commands.md").read_text(), re.MULTILINE)
    options = re.findall(r"--[a-z0-9-]+", " ".join(table))
    assert len(options) >= 6
    for option in options:
        assert pytestconfig.getoption(option, default="unknown") != "unknown"


def test_options_of_the_gate_that_are_named_exist() -> None:
    known = {name for action in parser_of(gate)._actions for name in action.option_strings}
    page = (ROOT / "docs" / "how-to" / "gate.md").read_text()
    named = set(re.findall(r"(--[a-z][a-z-]+)", page)) - {"--benchmark-compare-fail"}
    assert len(named) >= 6
    assert not named - known


def test_ci_calls_the_readmes_test_command() -> None:
    command = ".venv/bin/tox run -e tests"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_exists(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        linked = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert linked.exists(), f"{page} links to {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in anchors, f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_source_files_that_a_page_names_exist(page: str) -> None:
    if page == "CHANGELOG.md":  # of what there was, too
        return
    made = set(re.findall(r"<!-- recipe: create (\S+) -->", (ROOT / "CONTRIBUTING.md").read_text()))
    for name in re.findall(r"`((?:routers|harness|bench|reports|tests)/[\w/]+\.py)`", (ROOT / page).read_text()):
        assert name in made or (ROOT / name).is_file(), f"{page} names {name}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
