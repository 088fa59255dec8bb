"""The workflows do what they say: their environments and files exist, and none gives a stranger's code rights."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}
SCRIPT = ROOT / ".github" / "sticky-comment.cjs"
MARKER = "<!-- moe-router-gate -->"


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
    writes = "write" in workflow["permissions"].values()
    if writes:
        assert set(workflow["on"]) == {"workflow_run"}
        for step in steps(workflow):
            assert "run" not in step
            assert "ref" not in step.get("with", {})
    else:
        assert "pull_request_target" not in workflow["on"]


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
    installs_gptq = any(step.get("run") == ".ci/run" for step in steps(content))
    pinned = {"constraints-gptq.txt"} if installs_gptq else set()
    assert set(paths.split()) == {"pyproject.toml", "constraints.txt"} | pinned


HARNESS = """
const script = require(process.argv[1])
const { folder, sha, comments } = JSON.parse(process.argv[2])
const calls = []
const note = (name) => async (given) => { calls.push([name, given]) }
const github = {
  rest: {
    pulls: { get: async () => ({ data: { head: { sha: 'abc' } } }) },
    issues: { listComments: null, updateComment: note('update'), createComment: note('create') },
  },
  paginate: async () => comments,
}
const context = { repo: { owner: 'o', repo: 'r' }, payload: { workflow_run: { head_sha: sha } } }
const core = { setFailed: (why) => calls.push(['failed', why]) }
script({ github, context, core, folder }).then(() => console.log(JSON.stringify(calls)))
"""


@pytest.fixture
def post(tmp_path: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, as GitHub's runner has it")

    def run(number: str = "7", body: str = f"{MARKER}\nresult", sha: str = "abc", comments: list | None = None) -> list:
        (tmp_path / "pull-request").write_text(number)
        (tmp_path / "gate.md").write_text(body)
        given = json.dumps({"folder": str(tmp_path), "sha": sha, "comments": comments or []})
        done = subprocess.run([node, "-e", HARNESS, str(SCRIPT), given], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


def test_the_first_result_is_a_new_comment(post) -> None:
    ((verb, given),) = post()
    assert (verb, given["issue_number"], given["body"]) == ("create", 7, f"{MARKER}\nresult")


def test_a_later_result_replaces_it(post) -> None:
    others = [
        {"id": 1, "user": {"type": "User"}, "body": f"{MARKER} a user who quotes it"},
        {"id": 2, "user": {"type": "Bot"}, "body": "another bot"},
        {"id": 3, "user": {"type": "Bot"}, "body": f"{MARKER}\nolder"},
    ]
    ((verb, given),) = post(comments=others)
    assert (verb, given["comment_id"]) == ("update", 3)


@pytest.mark.parametrize(
    "given",
    [
        {"number": "7; rm"},
        {"number": "-1"},
        {"number": ""},
        {"body": "no marker"},
        {"body": MARKER + "x" * 65536},
        {"sha": "another commit"},
    ],
)
def test_what_cannot_be_believed_is_not_posted(post, given: dict) -> None:
    ((verb, _),) = post(**given)
    assert verb == "failed"
