"""Every recipe of CONTRIBUTING.md, carried out in a copy of the repository that is changed nowhere else.

A recipe is a Python block below a line such as `<!-- recipe: append bench/presets.py -->` or
`<!-- recipe: create routers/scorers/nearest.py -->`. All of them are carried out together; then the contract tests, one
run of `pytest bench` and one report say whether each thing has arrived.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = re.compile(r"<!-- recipe: (append|create) (\S+) -->\n+```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """A snippet, and the one file that it makes or is appended to."""

    verb: str
    path: str
    snippet: str

    def carry_out(self, folder: Path) -> None:
        """Touch the file, and no other."""
        path = folder / self.path
        if self.verb == "create":
            assert not path.exists(), f"{self.path} is there already"
            path.write_text(self.snippet)
        else:
            path.write_text(f"{path.read_text()}\n\n{self.snippet}")


def recipes() -> Iterator[Recipe]:
    return (Recipe(*found) for found in RECIPE.findall((ROOT / "CONTRIBUTING.md").read_text()))


class Copy:
    """A copy of the repository's own files in which every recipe was carried out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
        for name in listed.stdout.decode().split():
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        for recipe in recipes():
            recipe.carry_out(folder)

    def python(self, *arguments: str) -> str:
        """The output of a successful `python ...` in the copy, which imports the copy."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, f"{arguments}: {process.stdout[-3000:]}{process.stderr[-3000:]}"
        return process.stdout

    @cached_property
    def contract(self) -> list[str]:
        """The tests of the contract that the recipe's router and those of files outside the repository have passed."""
        outside = self.folder.with_name("outside")
        shutil.copytree(ROOT / "tests/routers/outside", outside)
        classes = {
            file: re.findall(r"^class (Outside\w+)", file.read_text(), re.MULTILINE) for file in outside.iterdir()
        }
        named = [f"{file}:{name}" for file, names in classes.items() for name in names]
        output = self.python(
            *(
                "-m",
                "pytest",
                "-v",
                "-p",
                "no:cacheprovider",
                "--assert=plain",
                "-k",
                "nearest or outside_ or test_registry",
            ),
            *("tests/routers/test_contract.py", "tests/routers/layer/test_moe_layer.py"),
            "tests/routers/test_registry.py",  # what it says of all routers holds beside those of files
            *(word for router in named for word in ("--router", router)),
        )
        return re.findall(r"::(\S+) PASSED", output)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The JSON of one run with the preset, router, input and scenario of the recipes."""
        measured = "bench_router and (random or two_clusters) or bench_pooled and random or bench_prefill"
        self.python(
            *("-m", "pytest", "bench", "--preset", "glance", "-q", "-k", f"({measured}) and (nearest or linear)"),
            *("--benchmark-json", "build/recipes.json", "-p", "no:cacheprovider", "--assert=plain"),
        )
        document: dict[str, Any] = json.loads((self.folder / "build/recipes.json").read_text())
        return document

    @cached_property
    def page(self) -> str:
        """The page of that run."""
        assert self.document
        self.python("-m", "reports", "build/recipes.json", "-o", "build/report")
        return (self.folder / "build/report/index.html").read_text()

    def entries(self, **wanted: str) -> list[dict[str, Any]]:
        """The run's benchmarks that say this of themselves."""
        infos = [benchmark["extra_info"] for benchmark in self.document["benchmarks"]]
        return [info for info in infos if all(info.get(name) == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


def test_every_kind_of_thing_has_a_recipe_of_one_file() -> None:
    assert [(recipe.verb, recipe.path) for recipe in recipes()] == [
        ("create", "routers/scorers/nearest.py"),
        ("append", "routers/selection/catalogue.py"),
        ("append", "routers/metrics.py"),
        ("append", "bench/router/inputs.py"),
        ("create", "bench/benchmarks/bench_pooled.py"),
        ("append", "bench/presets.py"),
        ("append", "harness/replacement/families.py"),
        ("create", "reports/tables/cheapest.py"),
        ("create", "reports/figures/parameters.py"),
    ]


def test_a_router_is_in_the_contract_tests_in_the_json_and_on_the_page(copy: Copy) -> None:
    assert sum("nearest" in test for test in copy.contract) > 20
    assert copy.entries(router="nearest", scenario="router", input="random")
    assert copy.entries(router="nearest", scenario="prefill")
    assert '<th scope="row"><bdi>nearest</bdi></th>' in copy.page


@pytest.mark.parametrize("kind", ["deep_seek", "noisy", "expert_choice", "soft"])
def test_a_router_of_a_file_outside_the_repository_keeps_the_contract(copy: Copy, kind: str) -> None:
    passed = [test for test in copy.contract if f"outside_{kind}_router" in test]
    assert len(passed) > 60
    assert any(test.startswith("test_values_and_gradients_equal_the_reference") for test in passed)


def test_a_selection_rule_goes_with_any_router_and_its_reference(copy: Copy) -> None:
    program = (
        "import torch\n"
        "from routers import create_router\n"
        "from routers.reference.check import check_router\n"
        "for name in ('nearest', 'hybrid'):\n"
        "    router = create_router(name, hidden_size=32, num_experts=8, top_k=2, selection='capped_sigmoid')\n"
        "    router.selection_bias.normal_()\n"
        "    check_router(router, torch.randn(20, 32))\n"
        "    print(router.selection)\n"
    )
    assert copy.python("-c", program).count("soft_cap=5.0") == 2


def test_a_metric_is_in_the_json_and_on_the_page(copy: Copy) -> None:
    assert copy.document["study"]["metrics"]["busiest_pair"]["label"] == "Busiest pair"
    (entry,) = copy.entries(router="linear", scenario="router", input="random")
    low, high = (0, 1)
    assert all(low <= value <= high for value in entry["behaviour"]["metrics"]["busiest_pair"]["values"])
    assert "Busiest pair" in copy.page


def test_an_input_is_in_the_json_and_on_the_page(copy: Copy) -> None:
    assert copy.entries(router="linear", scenario="router", input="two_clusters")
    assert copy.document["study"]["inputs"]["two_clusters"]["description"] in copy.page


def test_a_scenario_is_in_the_json_and_on_the_page(copy: Copy) -> None:
    assert copy.entries(router="linear", scenario="pooled")
    assert copy.entries(router="nearest", scenario="pooled")
    assert copy.document["study"]["scenarios"]["pooled"]["label"] in copy.page


def test_a_preset_is_known_and_said(copy: Copy) -> None:
    assert copy.document["study"]["preset"]["name"] == "glance"
    assert {entry["preset"] for entry in copy.entries()} == {"glance"}


def test_a_family_of_language_models_takes_routers(copy: Copy) -> None:
    program = (
        "import torch\n"
        "from transformers import FlexOlmoConfig, FlexOlmoForCausalLM\n"
        "from harness.replacement.injection import replace_routers\n"
        "sizes = dict(vocab_size=99, hidden_size=64, intermediate_size=32, num_hidden_layers=2, pad_token_id=0)\n"
        "sizes |= dict(num_attention_heads=4, num_key_value_heads=2, num_experts=8, num_experts_per_tok=2)\n"
        "sizes |= dict(bos_token_id=1, eos_token_id=2)\n"
        "class NewConfig(FlexOlmoConfig):\n"
        "    model_type = 'new_moe'\n"
        "model = FlexOlmoForCausalLM(NewConfig(**sizes)).eval()\n"
        "ids = torch.tensor([[3, 1, 4, 1, 5]])\n"
        "before = model(ids).logits\n"
        "with replace_routers(model, 'linear', initialise='original'):\n"
        "    torch.testing.assert_close(model(ids).logits, before, atol=1e-5, rtol=0)\n"
        "with replace_routers(model, 'nearest'):\n"
        "    assert not torch.equal(model(ids).logits, before)\n"
        "assert torch.equal(model(ids).logits, before)\n"
        "print('replaced and restored')\n"
    )
    assert "replaced and restored" in copy.python("-c", program)


def test_a_table_is_on_the_page_and_among_the_files(copy: Copy) -> None:
    assert "Cheapest routers" in copy.page
    assert (copy.folder / "build/report/tables/cheapest.csv").is_file()


def test_a_figure_is_on_the_page_and_among_the_files(copy: Copy) -> None:
    assert "Parameters of each router" in copy.page
    assert (copy.folder / "build/report/figures/parameters.svg").is_file()
