"""`pytest bench` as a user runs it: some runs begin with an import of everything, most are forks of one that has it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bench.presets import PRESETS
from harness.command_line import most_threads
from reports.__main__ import main as report_main
from reports.loading.schema import json_schema
from routers import list_routers
from tests.bench.runs import Files, Zygote

ROOT = Path(__file__).parents[2]
ONE_GROUP = ("-k", "bench_router and random and (linear or hash)")

OWN_ROUTER = '''
import torch
from routers import LogitRouter

class NoisyRouter(LogitRouter):
    """A router of somebody else's, in a file outside the repository."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.scale = torch.nn.Parameter(torch.randn(self.num_experts, self.hidden_size))

    def compute_router_logits(self, hidden_states):
        return hidden_states.to(self.scale.dtype) @ self.scale.T
'''


@dataclass(frozen=True)
class Run:
    """A finished `pytest bench`."""

    returncode: int
    output: str
    json_path: Path

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.json_path.read_text())  # type: ignore[no-any-return]

    def infos(self) -> list[dict[str, Any]]:
        return [benchmark["extra_info"] for benchmark in self.document["benchmarks"]]


Runner = Callable[..., Run]


def command_line(tmp_path: Path, *options: str) -> list[str]:
    """`pytest bench` with the smallest preset, its own journal and none of the plugins that it has no use for."""
    return [
        *(sys.executable, "-m", "pytest", "bench", "--preset", "smoke", "-q", "--assert=plain"),
        *(word for plugin in ("cacheprovider", "hypothesispytest", "anyio") for word in ("-p", f"no:{plugin}")),
        *("--journal", str(tmp_path / "journal"), "--benchmark-json", str(tmp_path / "bench.json")),
        *options,
    ]


def clean_environment() -> dict[str, str]:
    """Without what xdist and tox tell their children."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}


@pytest.fixture
def run_bench(zygote: Zygote, files: Files) -> Runner:
    """Runs `pytest bench` in a fork of a process that has everything imported."""

    def run(*options: str) -> Run:
        outcome = zygote.run(files, None, *options)
        return Run(outcome.code, outcome.output, files.json)

    return run


@pytest.fixture
def own_router(tmp_path: Path) -> Path:
    """A file outside the repository with a router in it."""
    path = tmp_path / "somebodys_router.py"
    path.write_text(OWN_ROUTER)
    return path


def test_a_router_of_somebodys_file_is_measured_and_reported_like_the_others(
    run_bench: Runner, own_router: Path, tmp_path: Path
) -> None:
    select = "bench_router and random or (random or contextual) and (linear or hash or noisy)"
    run = run_bench("--router", f"{own_router}:NoisyRouter", "-k", select)
    assert run.returncode == 0, run.output
    measured = {(info["scenario"], info["input"], info["router"]) for info in run.infos()}
    for scenario in ("router", "token", "training"):
        for input_name in ("random", "contextual"):
            names = list_routers() if (scenario, input_name) == ("router", "random") else ["linear", "hash"]
            assert {name for s, i, name in measured if (s, i) == (scenario, input_name)} == {*names, "noisy_router"}
    report = tmp_path / "report"
    assert report_main([str(run.json_path), "-o", str(report)]) == 0
    page = (report / "index.html").read_text()
    assert page.count("noisy_router") > 5
    assert any("noisy_router" in path.read_text() for path in report.rglob("*.csv"))
    # The drift of times has a line a router, and names none of them.
    figures = [path for path in report.rglob("*.svg") if path.stem != "drift"]
    assert figures
    assert all("noisy_router" in path.read_text() for path in figures)


def test_without_timing_every_router_is_still_checked(run_bench: Runner) -> None:
    run = run_bench(*ONE_GROUP, "--benchmark-disable")
    assert run.returncode == 0, run.output
    assert "2 passed" in run.output
    assert "Nothing was timed: 2 benchmarks were checked alone" in run.output
    assert not run.json_path.exists()


def test_under_xdist_every_router_is_checked_once_and_nothing_is_timed(run_bench: Runner) -> None:
    run = run_bench(*ONE_GROUP, "-p", "xdist.plugin", "-n", "2", "--assert=plain")
    assert run.returncode == 0, run.output
    assert "2 passed" in run.output
    assert "Nothing was timed: 2 benchmarks were checked alone" in run.output
    assert not run.json_path.exists()


def test_what_is_measured_is_checked_first_and_shown_with_its_ratio(run_bench: Runner) -> None:
    run = run_bench(*ONE_GROUP)
    table = [line.split() for line in run.output.splitlines() if " x linear" in line]
    assert {cells[0] for cells in table} == {"linear", "hash"}
    ratios = [float(cells[3]) for cells in table]
    assert ratios == sorted(ratios)
    assert "linear against itself" in run.output
    assert "Name (time in" not in run.output  # pytest-benchmark's own table


def test_every_result_says_what_was_measured(run_bench: Runner) -> None:
    run = run_bench(*ONE_GROUP)
    Draft202012Validator(json_schema("bench")).validate(json.loads(run.json_path.read_text()))
    assert run.returncode == 0, run.output
    for benchmark in run.document["benchmarks"]:
        info = benchmark["extra_info"]
        assert (info["scenario"], info["input"], info["preset"]) == ("router", "random", "smoke")
        assert (info["device"], info["dtype"], info["threads"]) == ("cpu", "float32", 1)
        assert (info["num_tokens"], info["hidden_size"], info["num_experts"], info["top_k"]) == (32, 64, 8, 2)
        metrics = info["behaviour"]["metrics"]
        assert {"token_entropy", "mean_top_k_prob", "score_std", "output_std", "aux_loss", "cv"} <= metrics.keys()
        assert all(len(stat["values"]) == 2 for stat in metrics.values())
        assert math.isclose(sum(info["behaviour"]["expert_load"]["mean"]), 1, abs_tol=1e-6)
        assert len(info["figures"]["sequence_probs"]) == info["sequence_length"]
        # Recorded durations went through pytest-benchmark unchanged.
        timing = info["timing"]
        assert benchmark["stats"]["rounds"] == timing["repetitions"] * timing["rounds"]
        assert len(timing["process_us"]) == timing["repetitions"] == 2
        assert min(timing["process_us"]) <= timing["us_per_call"] <= max(timing["process_us"])
    hash_info, linear_info = sorted(run.infos(), key=lambda info: info["router"])
    assert (hash_info["parameters"], hash_info["flops"], hash_info["experts_per_token"]) == (0, 0, 1)
    assert (linear_info["parameters"], linear_info["flops"]) == (64 * 8, 2 * 32 * 64 * 8)
    assert linear_info["timing"]["ratio"] == {"estimate": 1, "low": 1, "high": 1}
    ratio = hash_info["timing"]["us_per_call"] / linear_info["timing"]["us_per_call"]
    assert ratio == pytest.approx(hash_info["timing"]["ratio"]["estimate"])
    assert (run.document["study"]["planned"], run.document["study"]["preset"]["conclusive"]) == (2, False)


def test_a_language_models_benchmarks_are_measured_against_its_own_routers(run_bench: Runner, own_router: Path) -> None:
    select = "(inject or prefill or decode or finetune_step) and (stock or noisy)"
    run = run_bench("--router", f"{own_router}:NoisyRouter", "-k", select)
    assert run.returncode == 0, run.output
    scenarios = ("inject", "prefill", "decode", "finetune_step")
    measured = {(info["scenario"], info["router"]) for info in run.infos()}
    assert measured == {(scenario, name) for scenario in scenarios for name in ("stock", "noisy_router")}
    assert all(info["subject"] == "language_model" for info in run.infos())
    assert all(info["timing"]["baseline"] == "stock" for info in run.infos())
    study = run.document["study"]
    assert (study["language_model"]["name"], study["model"]) == ("tiny", None)
    assert list(study["routers"]) == ["noisy_router"]
    assert [noise["scenario"] for noise in study["noise"]] == ["decode", "finetune_step", "inject", "prefill"]
    assert {benchmark["group"] for benchmark in run.document["benchmarks"]} == {
        "inject | tiny | D=32 E=8 K=2",
        "prefill | tiny | B=2 S=16 D=32 E=8 K=2",
        "decode | tiny | B=1 S=16 D=32 E=8 K=2",
        "finetune_step | tiny | B=2 S=16 D=32 E=8 K=2",
    }


def test_an_unknown_language_model_is_one_line_before_anything_is_measured(run_bench: Runner, tmp_path: Path) -> None:
    select = "(bench_decode or bench_router and random) and linear"
    run = run_bench("--language-model", str(tmp_path / "nothing"), "-k", select)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "what can be named: tiny, embedded" in run.output
    assert "Traceback" not in run.output
    assert "INTERNALERROR" not in run.output
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 1
    assert run.output.startswith("ERROR: ") or "\nERROR: " in run.output


def test_pytest_benchmarks_own_tools_read_the_file(run_bench: Runner, tmp_path: Path) -> None:
    run = run_bench(*ONE_GROUP)
    command = [Path(sys.executable).with_name("pytest-benchmark"), "compare", run.json_path]
    histogram = tmp_path / "histogram"
    compared = subprocess.run(
        [*command, f"--histogram={histogram}"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "bench_router[hash-random]" in compared.stdout + compared.stderr
    assert list(tmp_path.glob("histogram*.svg"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--preset", "fast"), f"unknown preset 'fast'; there are: {', '.join(PRESETS)}"),
        (("--device", "tpu"), "unknown device 'tpu'; on this machine there are: cpu"),
        (("--router", "nowhere"), "unknown router 'nowhere'; there are: attention, cosine"),
        (("--router", "no.such:Router"), "no.such cannot be imported"),
        (("--threads", "0"), f"--threads is 0, expected 1 to {most_threads()}"),
        (("--threads", "1000000000"), "--threads is 1000000000, expected 1 to"),
        (("--preset=--",), "--preset=--: '--' is no value"),
        (("--clock", "graph"), "--clock is 'graph': 'graph' needs a CUDA device; on cpu there are: host, compile"),
        (("--l2", "flushed"), "--l2 is 'flushed', which needs a CUDA device; on cpu there is: warm"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_runs(
    run_bench: Runner, options: tuple[str, ...], complaint: str
) -> None:
    run = run_bench(*options)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert complaint in run.output
    assert "Traceback" not in run.output
    assert not run.json_path.exists()


def test_an_unknown_model_is_one_line_that_lists_what_exists(run_bench: Runner, tmp_path: Path) -> None:
    run = run_bench("--model", str(tmp_path / "nothing"), "-k", "contextual and linear and bench_token")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "embedded, embedded-768" in run.output
    assert "Traceback" not in run.output


def test_a_wrong_router_fails_alone_and_is_not_ranked(run_bench: Runner, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import torch\n"
        "from routers import Router\n"
        "class Wrong(Router):\n"
        "    def compute_router_probabilities(self, hidden_states):\n"
        "        # Depends on the batch: alone, a token gets other probabilities.\n"
        "        logits = hidden_states.mean(dim=0, keepdim=True).expand_as(hidden_states)[..., : self.num_experts]\n"
        "        return torch.softmax(logits, dim=-1)\n"
    )
    run = run_bench("--router", f"{wrong}:Wrong", "-k", "bench_router and random and (linear or wrong)")
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "differ from the float64 reference" in run.output
    assert [info["router"] for info in run.infos()] == ["linear"]
    assert run.document["study"]["planned"] == 2


def test_a_killed_run_goes_on_where_it_stopped(run_bench: Runner, sources: Path, tmp_path: Path) -> None:
    """The one run here that imports everything, as its repetitions do; another one goes on with it."""
    select = ("-k", "bench_router and supplemental and (linear or hash)")
    journal = tmp_path / "journal"
    with subprocess.Popen(
        command_line(tmp_path, *select),
        cwd=sources,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as victim:
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
    kept = journal.read_bytes()
    resumed = run_bench(*select, "--resume")
    assert resumed.returncode == 0, resumed.output
    finished = kept.count(b"\n") - 1
    assert f"continuing after {finished} finished measurements" in resumed.output
    assert not journal.exists()
    assert {info["router"] for info in resumed.infos()} == {"linear", "hash"}
    assert all(benchmark["stats"]["rounds"] == 6 for benchmark in resumed.document["benchmarks"])


def test_a_journal_of_another_run_is_not_continued(run_bench: Runner, tmp_path: Path) -> None:
    (tmp_path / "journal").write_text('{"preset": "other"}\n')
    run = run_bench(*ONE_GROUP, "--resume")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "made with another configuration" in run.output


def test_a_pytest_benchmark_that_is_too_old_is_one_usage_error(tmp_path: Path) -> None:
    old = tmp_path / "site" / "pytest_benchmark-5.1.0.dist-info"  # found before the installed one
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-benchmark\nVersion: 5.1.0\n")
    (old / "entry_points.txt").write_text("[pytest11]\nbenchmark = pytest_benchmark.plugin\n")
    process = subprocess.run(
        command_line(tmp_path, "--collect-only"),
        cwd=ROOT,
        env=clean_environment() | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert process.stderr == "ERROR: pytest-benchmark 5.1.0 is installed; this suite needs 5.2 or newer\n\n"
