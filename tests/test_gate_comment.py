"""The gate's comment on a pull request: rendered from its JSON by trusted code, posted as the workflow's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".github" / "sticky-comment.cjs"
MARKER = "<!-- moe-router-gate -->"
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
