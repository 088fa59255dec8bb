"""Ours beside others' gates and layers. Axes: T tokens, D hidden size, E experts."""

import json

import pytest
import torch

from bench.peers import command, worker
from bench.peers.catalogue import get_work
from bench.peers.gates import KINDS
from bench.peers.layers import Layers
from bench.peers.work import OURS, TWIN, CannotRunError, Sizes, Subject

REQUEST = {"dtype": "float32", "tokens": [1, 5], "rounds": 2, "warmup": 1, "threads": 1, "peers": []}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_backend_that_runs_does_the_same_work_as_our_layer(dtype):
    found = worker.measure(get_work("layer-tiny"), REQUEST | {"dtype": dtype, "index": 1, "tokens": [5]})
    assert [(group["tokens"], group["mode"]) for group in found["groups"]] == [(5, "forward"), (5, "training")]
    for group in found["groups"]:
        assert not group["wrong"]
        assert set(group["durations"]) == {
            OURS,
            TWIN,
            *(f"transformers {name}" for name in ("eager", "batched_mm", "grouped_mm")),
        }
        assert all("GPU" in why or "Hopper" in why for why in group["left_out"].values())


@pytest.mark.parametrize("rule", KINDS)
def test_every_gate_that_runs_selects_and_weighs_as_ours(rule):
    work = get_work(f"gate-{rule}")
    subjects, refused = worker.make(work, torch.float32)
    assert {OURS, TWIN, *(f"transformers {name}" for name in KINDS[rule].gates)} <= set(subjects)
    assert "random" in refused["st-moe-pytorch"]
    tokens = torch.randn(6, work.sizes.hidden_size, generator=torch.Generator().manual_seed(0))
    assert worker.check(work, subjects, tokens) == {}


def test_a_wrong_peer_is_named_and_not_timed(monkeypatch):
    work = get_work("layer-tiny")
    right = dict(work.subjects(torch.float32))
    subjects = [(OURS, right[OURS]), (TWIN, right[TWIN]), ("wrong", lambda: Subject(lambda x: x * 2, []))]
    monkeypatch.setattr(work, "subjects", lambda dtype: iter(subjects))
    first = worker.measure(work, REQUEST | {"index": 0})["groups"][0]
    assert "off the float64 reference" in first["wrong"]["wrong"]
    assert set(first["durations"]) == {OURS, TWIN}
    assert first["memory"][OURS] is None or first["memory"][OURS] >= 0


def test_a_backend_that_copies_too_much_is_left_out_with_the_figure():
    work = Layers(Sizes(64, 96, 4, 2))
    with pytest.raises(CannotRunError, match="copies 72 GiB of weights, of which 2 are allowed"):
        work.refuse("transformers batched_mm", 512 * 1024, torch.float32)
    work.refuse("transformers grouped_mm", 512 * 1024, torch.float32)


def test_ratios_and_the_best_peer_by_hand(tmp_path, monkeypatch, capsys):
    # ours 100 ns beside 200 and 400: half the time of the better one, in both processes
    group = {
        "tokens": 1,
        "mode": "forward",
        "left_out": {"c": "has no GPU"},
        "wrong": {},
        "durations": {OURS: [100, 100], TWIN: [100, 100], "a": [200, 200], "b": [400, 400]},
        "memory": {OURS: 10, "a": 20},
    }
    monkeypatch.setattr(command, "ask", lambda request: {"sizes": "64/8/2", "groups": [group]})
    monkeypatch.setattr(command, "describe_machine", dict)
    path = tmp_path / "peers.json"
    arguments = ["--work", "layer-tiny", "--dtype", "float32", "--processes", "2", "--json", str(path)]
    assert command.main(arguments) == 0
    (entry,) = json.loads(path.read_text())["entries"]
    assert entry["best_peer"] == "a"
    assert entry["ours_over"]["a"]["estimate"] == pytest.approx(0.5)
    said = capsys.readouterr().out
    assert "0.500 [0.500, 0.500]" in said
    assert "c: has no GPU" in said
    monkeypatch.setattr(command, "ask", None)  # nothing is measured again
    assert command.main([*arguments, "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--work", "sonnet"], "--work has 'sonnet', expected of: gate-mixtral"),
        (["--tokens", "0"], "--tokens is '0', expected whole numbers of at least 1"),
        (["--tokens", "x"], "--tokens is 'x', expected whole numbers of at least 1"),
        (["--dtype", "float8"], "--dtype has 'float8', expected of: float32, bfloat16"),
        (["--processes", "1"], "--processes is 1, expected at least 2"),
    ],
)
def test_bad_input_is_one_line(arguments, said, capsys):
    assert command.main(arguments) == 2
    assert said in capsys.readouterr().err
