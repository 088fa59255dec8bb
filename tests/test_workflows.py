"""The workflows do what they say: their environments and files exist, and none gives a stranger's code rights."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
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
    installs_gptq = any(step.get("run") == ".ci/run" for step in steps(content))
    pinned = {"constraints-gptq.txt"} if installs_gptq else set()
    assert set(paths.split()) == {"pyproject.toml", "constraints.txt"} | pinned


RENDER = ROOT / ".github" / "render-comment.sh"


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The comment that the trusted job makes of what an artifact holds."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def run(content: str | None) -> str:
        json_path, comment = tmp_path / "gate.json", tmp_path / "comment.md"
        json_path.unlink(missing_ok=True)
        if content is not None:
            json_path.write_text(content)
        subprocess.run([str(RENDER), str(json_path), str(comment)], cwd=ROOT, check=True, capture_output=True)
        return comment.read_text()

    return run


def gate_json(**changes: object) -> str:
    interval = {"estimate": 1.5, "low": 1.4, "high": 1.6}
    row = {
        "benchmark": "router | random | linear",
        "base_us": 100.0,
        "head_us": 150.0,
        "ratio": interval,
        "floor": 0.004,
    }
    row |= {"pairs": 3, "first_look": interval, "verdict": "SLOWER", "reason": None, "expected": False}
    commit = {"ref": "main", "commit": "0" * 40, "subject": "as it is"}
    outcome = {"exit_code": 1, "reasons": ["router | random | linear is slower: 1.500 [1.400, 1.600]"]}
    document = {"schema": 1, "kind": "gate", "base": commit, "head": commit, "preset": {"name": "ci"}, "device": "cpu"}
    document |= {
        "threads": 1,
        "machine": {},
        "threshold": 0.02,
        "margin": 0.05,
        "floor_multiple": 2.0,
        "elapsed_s": 60.0,
    }
    document |= {"notices": [], "rows": [row], "figures": [], "figures_compared": 3, "added": [], "removed": []}
    return json.dumps(document | {"outcome": outcome} | changes)


def test_the_json_is_rendered_by_the_checkouts_own_reports(render) -> None:
    comment = render(gate_json(notices=["@everyone [a link](https://x.example) <img src=x>"]))
    assert comment.startswith(f"{MARKER}\n## Router benchmarks: Regression\n")
    assert not re.search("@(?!&#8203;)", comment)
    assert not re.search(r"(?<!\\)\]\(", comment)
    assert "https://" not in comment
    assert "<img" not in comment


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        f"{MARKER}\n## Router benchmarks: No regression\n",
        '{"kind": "gate", "schema": 1}',
        "[" * 100_000,
        " " * 5_000_001,
        gate_json().replace('"exit_code": 1', '"exit_code": "No regression"'),
    ],
)
def test_what_is_no_result_is_not_rendered(render, content: str | None) -> None:
    assert render(content) == f"{MARKER}\n## Router benchmarks: the gate has no result\n\nIts log says why.\n"


def test_it_is_rendered_with_pydantic_alone(tmp_path: Path) -> None:
    """The trusted job installs nothing else."""
    missing = ["numpy", "scipy", "pandas", "matplotlib", "jinja2", "torch"]
    comment = tmp_path / "comment.md"
    program = (
        f"import sys\nfor name in {missing}:\n    sys.modules[name] = None\n"
        f"from reports.__main__ import main\nsys.exit(main(['gate', '/dev/stdin', '--markdown', {str(comment)!r}]))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, input=gate_json(), text=True, check=True)
    assert comment.read_text().startswith(MARKER)


HARNESS = """
const script = require(process.argv[1])
const { file, run, pulls, comments } = JSON.parse(process.argv[2])
const calls = []
const note = (name) => async (given) => { calls.push([name, given]) }
const lists = { pulls, comments }
const github = {
  rest: {
    pulls: { list: 'pulls' },
    issues: { listComments: 'comments', updateComment: note('update'), createComment: note('create') },
  },
  paginate: async (what, given) => { if (what === 'pulls') calls.push(['list', given]); return lists[what] },
}
const context = { repo: { owner: 'o', repo: 'r' }, payload: { workflow_run: run } }
const core = { setFailed: (why) => calls.push(['failed', why]) }
script({ github, context, core, file }).then(() => console.log(JSON.stringify(calls)))
"""
RUN = {"head_sha": "abc", "head_branch": "a-branch", "head_repository": {"owner": {"login": "someone"}}}
PULLS = [{"number": 5, "head": {"sha": "older"}}, {"number": 7, "head": {"sha": "abc"}}]
OURS = {"login": "github-actions[bot]", "type": "Bot"}


@pytest.fixture
def post(tmp_path: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, as GitHub's runner has it")

    def run(
        body: str = f"{MARKER}\nresult", run: dict = RUN, pulls: list = PULLS, comments: list | None = None
    ) -> list:
        (tmp_path / "comment.md").write_text(body)
        given = {"file": str(tmp_path / "comment.md"), "run": run, "pulls": pulls, "comments": comments or []}
        done = subprocess.run(
            [node, "-e", HARNESS, str(SCRIPT), json.dumps(given)], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return run


def test_the_first_result_is_a_new_comment(post) -> None:
    (listed, asked), (verb, given) = post()
    assert (listed, asked["head"], asked["state"]) == ("list", "someone:a-branch", "open")
    assert (verb, given["issue_number"], given["body"]) == ("create", 7, f"{MARKER}\nresult")


def test_a_later_result_replaces_it(post) -> None:
    others = [
        {"id": 1, "user": {"login": "u", "type": "User"}, "body": f"{MARKER} a user who quotes it"},
        {"id": 2, "user": OURS, "body": "another workflow's"},
        {"id": 3, "user": OURS, "body": f"{MARKER}\nolder"},
    ]
    _, (verb, given) = post(comments=others)
    assert (verb, given["comment_id"]) == ("update", 3)


@pytest.mark.parametrize(
    "comment",
    [
        {"id": 1, "user": None, "body": f"{MARKER}\na deleted user's"},
        {"id": 1, "user": OURS, "body": None},
        {"id": 1, "user": OURS},
        {"id": 1, "user": {"login": "other[bot]", "type": "Bot"}, "body": f"{MARKER}\nanother bot's"},
        {"id": 1, "user": {}, "body": MARKER},
    ],
)
def test_comments_that_are_not_the_workflows_own_stay(post, comment: dict) -> None:
    _, (verb, given) = post(comments=[comment])
    assert (verb, given["issue_number"]) == ("create", 7)


@pytest.mark.parametrize(
    "given",
    [
        {"body": "no marker"},
        {"body": MARKER + "x" * 65536},
        {"run": RUN | {"head_sha": "another commit"}},
        {"run": RUN | {"head_repository": None}, "pulls": []},
        {"pulls": []},
        {"pulls": [{"number": 7, "head": None}]},
    ],
)
def test_what_cannot_be_believed_is_not_posted(post, given: dict) -> None:
    verb, _ = post(**given)[-1]
    assert verb == "failed"
