"""The command line, in processes of their own: killed, continued, launched twice side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from harness.assets.files import alone_in
from harness.finetuning import command
from harness.finetuning.checkpoints import checksum
from harness.finetuning.command import DIVERGED, INTERRUPTED, MISTAKE, main
from harness.finetuning.settings import DivergedError, FinetuneSettings, RunSpec
from harness.finetuning.trainer import RouterTrainer
from reports.loading.schema import json_schema
from routers.registry import restored_registry

ROOT = Path(__file__).parents[3]
EXPERT_CHOICE = """
import torch
from routers import Router, Routing

class Nothing(Routing):
    tokens_per_expert = property(lambda self: torch.zeros(self.num_experts, dtype=torch.int64))

    def dispatch(self, hidden_states):
        raise NotImplementedError

    def combine(self, expert_outputs):
        raise NotImplementedError

class NobodyChosen(Router):
    def compute_router_probabilities(self, hidden_states):
        return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)

    def forward(self, hidden_states, **side_inputs):
        return Nothing(self.num_experts, probs=self.compute_router_probabilities(hidden_states))
"""
SMALL = ["--steps", "6", "--log-every", "2", "--gradient-accumulation-steps", "2", "--train-lines", "24"]
SMALL += ["--held-out-windows", "3", "--calibration-windows", "4", "--max-length", "16", "--learning-rate", "0.01"]


def curve(folder: Path) -> list[dict[str, Any]]:
    runs = json.loads((folder / "finetune.json").read_text())["runs"]
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in runs]


def gradient_norms(folder: Path) -> list[float]:
    (logs,) = folder.glob("runs/*/tensorboard")
    return [event.value for event in EventAccumulator(str(logs)).Reload().Scalars("train/grad_norm")]


def arguments(model: Path, folder: Path, *more: str) -> list[str]:
    return ["finetune", "--router", "linear", "--model", str(model), "-o", str(folder), *SMALL, *more]


def start(arguments: Sequence[str], launcher: Sequence[str] = ("-m", "harness")) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert main(arguments(tiny_folder, folder)[1:]) == 0
    return folder


def test_the_document_says_what_was_done(whole: Path) -> None:
    document = json.loads((whole / "finetune.json").read_text())
    Draft202012Validator(json_schema("finetune")).validate(document)
    assert (document["kind"], document["schema"]) == ("fine-tuning", 1)
    assert document["model"]["layers"] == [0, 1]
    assert document["model"]["num_experts"] == 4
    assert document["settings"]["steps"] == 6
    assert document["settings"]["processes"] == 1
    assert document["settings"]["balance"] == "switch"
    assert document["original"]["perplexity"] > 1
    (entry,) = document["runs"]
    assert entry["class"] == "routers.scorers.linear.LinearRouter"
    assert [loss["step"] for loss in entry["losses"]] == [2, 4, 6]


def test_killed_it_goes_on_to_the_same_curve(tiny_folder: Path, whole: Path, tmp_path: Path) -> None:
    process = start(arguments(tiny_folder, tmp_path))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/checkpoint-*/seal.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not list(tmp_path.glob("runs/*/run.json"))
    assert main(arguments(tiny_folder, tmp_path, "--resume", "--threads", "1")[1:]) == 0
    assert curve(tmp_path) == curve(whole)


class Terminate(TrainerCallback):
    """Sends this process a SIGTERM when the first checkpoint is written."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_interrupted_it_says_how_to_go_on(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin, handler = RouterTrainer.__init__, signal.getsignal(signal.SIGTERM)

    def watched(self: RouterTrainer, **arguments: Any) -> None:
        begin(self, **arguments)
        self.add_callback(Terminate())

    monkeypatch.setattr(RouterTrainer, "__init__", watched)
    try:
        assert main(arguments(tiny_folder, tmp_path)[1:]) == INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, handler)
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == "finetune: interrupted; --resume goes on"
    assert "Traceback" not in error
    assert list(tmp_path.glob("runs/*/checkpoint-*"))


def test_two_processes_train_as_one_with_batches_twice_as_large(tiny_folder: Path, tmp_path: Path) -> None:
    """The loss, the load-balancing loss and the load of a step are those of all its lines, wherever they are read."""
    # 20 lines are two and a half steps: the short last step of the text is met too.
    same = ["--steps", "4", "--log-every", "1", "--lora-dropout", "0", "--load-balancing-coefficient", "1"]
    same += ["--train-lines", "20"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(arguments(tiny_folder, one, *same, "--batch-size", "4")[1:]) == 0
    # Without --multi_gpu accelerate starts one process on a CPU, whatever number it is given.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "harness"]
    process = start(arguments(tiny_folder, two, *same, "--batch-size", "2"), launcher)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 0, output
    assert json.loads((two / "finetune.json").read_text())["settings"]["processes"] == 2
    (alone,), (together,) = curve(one), curve(two)
    for first, second in zip(alone["losses"], together["losses"], strict=True):
        assert second == pytest.approx(first, rel=1e-4)
    # AdamW hardly feels how large a gradient is, so that is compared too.
    norms = [gradient_norms(folder) for folder in (one, two)]
    assert len(norms[0]) == 4
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    assert together["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-4)


def test_finished_runs_are_not_repeated(
    tiny_folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.Sweep, "carry_out", None)
    before = (whole / "finetune.json").read_text()
    assert main(arguments(tiny_folder, whole, "--resume")[1:]) == 0
    assert "1/1 linear-random-0-trained: loss" in capsys.readouterr().out
    assert json.loads((whole / "finetune.json").read_text())["runs"] == json.loads(before)["runs"]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], "has runs already; --resume goes on with them, -o names another folder"),
        (["--resume", "--steps", "7"], r"made otherwise (different: settings.steps)"),
        (["--router", "nonsense"], "unknown router 'nonsense'; there are: "),
        (["--router", "nowhere.py:Router"], "nowhere.py"),
        (["--batch-size", "0"], "batch_size is 0, expected at least 1"),
        (["--seeds", "0"], "seeds is 0, expected at least 1"),
        (["--resume", "--model", "no/such-model-here"], "no/such-model-here"),
        (["--threads", "1000000000"], "threads is 1000000000, expected 1 to"),
        (["--device", "cuda"], "device is cuda"),
        (["--device", "gpu"], "device is gpu, expected cpu or cuda"),
        (["--threads", "0"], "threads is 0, expected 1 to "),
        (["--balance", "list"], "balance: unknown balancer 'list'; there are: bias, global_batch, quantile, "),
        (["--resume", "--balance", "bias"], "made otherwise (different: settings.balance)"),
        (["--control", "--untrained"], "--control with --untrained has nothing to compare"),
        (["--resume", "--held-out-windows", "10000000"], "held_out_windows: count is 10000000, the text has"),
    ],
)
def test_a_mistake_is_one_line(
    more: list[str], line: str, tiny_folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tiny_folder, whole, *more)[1:]) == MISTAKE
    error = capsys.readouterr().err
    assert line in error
    assert error.startswith("finetune: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("place", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_fetched(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr(command, "resolve_language_model", fetch)
    monkeypatch.setattr(command, "load_passages", fetch)
    (tmp_path / "a file").touch()
    folder = tmp_path / place
    assert main(["--router", "linear", "-o", str(folder)]) == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith(f"finetune: {folder}: cannot be written: ")
    assert error.count("\n") == 1


def test_a_second_fine_tuning_in_the_same_folder_is_refused(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "resolve_language_model", None)
    before = (whole / "finetune.json").read_bytes()
    with alone_in(whole):
        assert main(["--router", "linear", "-o", str(whole), "--resume"]) == MISTAKE
    error = capsys.readouterr().err
    assert error == f"finetune: {whole}: another fine-tuning is writing it; wait, or name another folder with -o\n"
    assert (whole / "finetune.json").read_bytes() == before


def test_runs_are_not_gone_on_with_by_a_model_of_another_configuration(
    tiny_folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert main(arguments(model, whole, "--resume")[1:]) == MISTAKE
    assert "made otherwise (different: model_files)" in capsys.readouterr().err


def test_runs_that_are_there_are_refused_before_anything_is_fetched(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "resolve_language_model", None)
    assert main(["--router", "linear", "-o", str(whole)]) == MISTAKE
    assert "has runs already" in capsys.readouterr().err


def test_every_option_says_what_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(command.SETTINGS_HELP) == {field.name for field in fields(FinetuneSettings)} - {"quick"}
    for action in command._parser()._actions:
        assert action.help
        assert not action.help.startswith("(")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "lines in a batch, of one process (2)" in " ".join(capsys.readouterr().out.split())


def test_dashes_are_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--router=--"])
    assert "--router=--: '--' is no value" in capsys.readouterr().err


def test_a_start_that_a_router_cannot_have_is_one_line(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--router",
        "mlp",
        "--initialise",
        "original",
        "--model",
        str(tiny_folder),
        "-o",
        str(tmp_path),
        *SMALL,
    ]
    assert main(options) == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("finetune: mlp: MLPRouter has no weight (E, D)")
    assert error.count("\n") == 1


def test_another_runs_file_is_refused(
    tiny_folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = whole.glob("runs/*/run.json")
    kept = run.read_text()
    try:
        run.write_text(kept[: len(kept) // 2])
        assert main(arguments(tiny_folder, whole, "--resume")[1:]) == MISTAKE
        assert "run.json: not the file of this run" in capsys.readouterr().err
        run.write_text(kept.replace('"code": "', '"code": "0'))
        assert main(arguments(tiny_folder, whole, "--resume")[1:]) == MISTAKE
        assert "run.json: another run's (different: code)" in capsys.readouterr().err
    finally:
        run.write_text(kept)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda entry: entry["perplexity"].update(after=1.00), "edited or damaged, its checksum is not that"),
        (lambda entry: entry.pop("checksum"), "edited or damaged, its checksum is not that"),
        (lambda entry: forged(entry["perplexity"].update(after=0.5), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry["perplexity"].update(before=None), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry["perplexity"].update(after="low"), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry.update(perplexity=3), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry.update(losses=None), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry.update(losses=[3]), entry), "holds no perplexities of 1 or more"),
        (lambda entry: forged(entry["losses"][0].pop("loss"), entry), "finite losses"),
        (lambda entry: forged(entry["losses"][0].update(loss=1e999), entry), "finite losses"),
        (lambda entry: forged(entry.pop("seconds"), entry), "finite losses"),
    ],
)
def test_an_edited_run_is_refused(
    tiny_folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, line: str
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    (run,) = tmp_path.glob("copy/runs/*/run.json")
    entry = json.loads(run.read_text())
    change(entry)
    run.write_text(json.dumps(entry))
    assert main(arguments(tiny_folder, tmp_path / "copy", "--resume")[1:]) == MISTAKE
    error = capsys.readouterr().err
    assert f"run.json: {line}" in error or line in error
    assert error.count("\n") == 1


def forged(_change: object, entry: dict[str, Any]) -> None:
    """As somebody would who writes the right checksum."""
    del entry["checksum"]
    entry["checksum"] = checksum(entry)


def test_quick_takes_less_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    options = command._parser().parse_args(["--router", "linear", "--quick", "--steps", "3"])
    settings = command._settings(options)
    assert (settings.quick, settings.steps, settings.train_lines) == (True, 3, command.QUICK.train_lines)
    assert not command._settings(command._parser().parse_args(["--router", "linear"])).quick


def test_a_router_that_does_not_choose_for_tokens_is_one_line(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chooses_tokens.py"
    path.write_text(EXPERT_CHOICE)
    options = ["--router", f"{path}:NobodyChosen", "--model", str(tiny_folder), "-o", str(tmp_path / "out"), *SMALL]
    with restored_registry():
        assert main(options) == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("finetune: nobody_chosen: NobodyChosen gives a ")
    assert error.count("\n") == 1


def test_a_dense_model_is_one_line(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    dense = tmp_path / "dense"
    shutil.copytree(tiny_folder, dense)
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=1
    )
    LlamaForCausalLM(config).save_pretrained(dense)
    capsys.readouterr()
    assert main(["--router", "linear", "--model", str(dense), "-o", str(tmp_path / "out"), *SMALL]) == MISTAKE
    error = capsys.readouterr().err
    assert "has no Mixture-of-Experts block" in error
    assert error.count("\n") == 1


def test_the_document_keeps_the_runs_of_earlier_commands(tiny_folder: Path, tmp_path: Path) -> None:
    for router in ("linear", "mlp"):
        options = ["--router", router, "--untrained", "--resume", "--model", str(tiny_folder), "-o", str(tmp_path)]
        assert main([*options, *SMALL]) == 0
    assert [entry["router"] for entry in curve(tmp_path)] == ["linear", "mlp"]


def test_a_run_of_another_command_that_is_no_run_is_refused(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--router", "linear", "--untrained", "--model", str(tiny_folder), "-o", str(tmp_path), *SMALL]
    assert main(options) == 0
    strange = tmp_path / "runs" / "strange" / "run.json"
    strange.parent.mkdir()
    strange.write_text('{"seed": 1}')
    assert main([*options, "--resume"]) == MISTAKE
    assert "run.json: not the file of a run (without router_training, initialise, router)" in capsys.readouterr().err


def test_runs_without_their_settings_are_refused(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--router", "linear", "--untrained", "--model", str(tiny_folder), "-o", str(tmp_path), *SMALL]
    assert main(options) == 0
    (tmp_path / "head.json").unlink()
    for content in (None, "[1]", "{"):
        if content is not None:
            (tmp_path / "head.json").write_text(content)
        assert main([*options, "--resume"]) == MISTAKE
        assert "head.json: not written by a fine-tuning" in capsys.readouterr().err


def test_a_run_that_diverges_is_left_out_and_the_others_go_on(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = command.Sweep.carry_out

    def diverge(self: command.Sweep, spec: RunSpec) -> dict[str, Any]:
        if spec.seed == 0:
            raise DivergedError("the loss is nan at step 3")
        return carry_out(self, spec)

    monkeypatch.setattr(command.Sweep, "carry_out", diverge)
    options = ["--router", "linear", "--untrained", "--seeds", "2", "--model", str(tiny_folder), "-o", str(tmp_path)]
    assert main([*options, *SMALL]) == DIVERGED
    line = "finetune: linear-random-0-untrained: the loss is nan at step 3; it is left out"
    assert line in capsys.readouterr().err
    assert [entry["seed"] for entry in curve(tmp_path)] == [1]
