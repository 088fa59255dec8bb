"""The workflows do what they say: their environments and files exist, and none gives a stranger's code rights."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}


@pytest.fixture(params=sorted(WORKFLOWS))
def workflow(request: pytest.FixtureRequest) -> dict:
    content = yaml.safe_load(WORKFLOWS[request.param].read_text())
    content["on"] = content.pop(True)  # YAML 1.1 reads `on` as a truth value
    return content


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_all_of_them_are_linted() -> None:
    linted = set(re.findall(r"\.github/workflows/([\w-]+)\.yml", (ROOT / "tox.ini").read_text()))
    assert linted == set(WORKFLOWS) == {"tests", "gate", "gate-comment", "nightly"}


def test_commands_name_tox_environments_and_files_that_exist(workflow: dict) -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for command in (step["run"] for step in steps(workflow) if "run" in step):
        for name in re.findall(r"tox run -e ([\w,]+)", command):
            assert f"testenv:{name}" in tox
        if command.startswith(".ci/"):
            assert (ROOT / command).is_file()


def test_nothing_from_a_pull_request_is_pasted_into_a_command(workflow: dict) -> None:
    for step in steps(workflow):
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("with", {}).get("script", "")


def test_who_may_write_runs_no_code_of_a_pull_request(workflow: dict) -> None:
    assert "write" not in workflow["permissions"].values()
    assert "pull_request_target" not in workflow["on"]
    for job in workflow["jobs"].values():
        if "write" in job.get("permissions", {}).values():
            assert set(workflow["on"]) == {"workflow_run"}
            for step in job["steps"]:
                assert "run" not in step
                # Of the run that it follows, it takes what another job of its own has made of that.
                assert not {"ref", "run-id"} & step.get("with", {}).keys()


def test_the_comment_is_rendered_from_the_json_alone() -> None:
    gate, comment = (yaml.safe_load(WORKFLOWS[name].read_text()) for name in ("gate", "gate-comment"))
    (kept,) = [step["with"]["path"] for step in steps(gate) if "upload-artifact" in step.get("uses", "")]
    assert kept == "build/gate.json"
    assert comment["jobs"]["comment"]["needs"] == "render"
    (command,) = [step["run"] for step in comment["jobs"]["render"]["steps"] if "run" in step]
    assert ".github/render-comment.sh untrusted/gate.json comment.md" in command
    assert all("ref" not in step.get("with", {}) for step in comment["jobs"]["render"]["steps"])


def test_actions_are_pinned_by_their_commit() -> None:
    for path in WORKFLOWS.values():
        used = re.findall(r"uses: (.+)", path.read_text())
        assert used
        for action in used:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_every_job_has_a_limit_and_keeps_no_credentials(workflow: dict) -> None:
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_nightly_run_keeps_its_json() -> None:
    nightly = yaml.safe_load(WORKFLOWS["nightly"].read_text())
    kept = [step["with"]["path"] for step in steps(nightly) if "upload-artifact" in step.get("uses", "")]
    assert "build/paper.json" in kept[0]


MAKERS = {
    "assets/encoders",
    "text/texts",
    "text/passages",
    *(
        f"language_models/builtin/{name}"
        for name in ("build", "gguf_llama", "upcycling", "sparse_layer", "neuron_groups")
    ),
}
"""The files of `harness` that say what lies in the cache of models, or make it."""


@pytest.mark.parametrize("name", ["tests", "gate", "nightly"])
def test_models_are_cached_under_what_makes_them(name: str) -> None:
    content = yaml.safe_load(WORKFLOWS[name].read_text())
    (key,) = [step["with"]["key"] for step in steps(content) if "actions/cache@" in step.get("uses", "")]
    hashed = re.findall(r"'([^']+)'", key)
    files = {path: {file.relative_to(ROOT).as_posix() for file in ROOT.glob(path)} for path in hashed}
    assert {f"harness/{maker}.py" for maker in MAKERS} <= set().union(*files.values())
    assert all(files.values())


@pytest.mark.parametrize("name", ["tests", "gate", "nightly"])
def test_packages_are_cached_under_what_pins_them(name: str) -> None:
    content = yaml.safe_load(WORKFLOWS[name].read_text())
    (paths,) = [step["with"]["cache-dependency-path"] for step in steps(content) if "cache" in step.get("with", {})]
    installs_more = any(step.get("run") == ".ci/run" for step in steps(content))
    pinned = {"constraints-gptq.txt", "constraints-docs.txt"} if installs_more else set()
    assert set(paths.split()) == {"pyproject.toml", "constraints.txt"} | pinned
