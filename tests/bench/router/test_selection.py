"""The selection alone: every path beside the eager one, right before it is timed."""

import json
from importlib.util import find_spec

import pytest
import torch

from bench.router import selection


def test_a_record_of_each_path_that_there_is(capsys):
    assert selection.main(["--device", "cpu", "--tokens", "3", "--path", "fused", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["records"]
    assert {(each["rule"], each["num_experts"]) for each in found} == {
        ("softmax", 8),
        ("softmax", 128),
        ("softmax", 512),
        ("deepseek_v3", 256),
    }
    # Without a card there is no kernel, and the eager steps are not measured under its name.
    assert {each["path"] for each in found} == {"eager", "eager@again"}
    assert all(each["us"] > 0 for each in found)


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: the extra `native`")
def test_the_native_kernel_of_a_cpu(capsys):
    assert selection.main(["--device", "cpu", "--tokens", "70", "--path", "native", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["records"]
    assert {each["path"] for each in found} == {"eager", "eager@again", "native"}


def test_a_table(capsys):
    assert selection.main(["--device", "cpu", "--tokens", "2", "--path", "fused", "--rounds", "2"]) == 0
    assert "softmax 128/8 T=2" in capsys.readouterr().out


def test_a_path_that_is_wrong_is_not_timed(monkeypatch):
    selected, weights = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]])
    wrong = {**selection.PATHS, selection.TWIN: lambda router, logits: lambda: (selected, weights)}
    monkeypatch.setattr(selection, "PATHS", wrong)
    with pytest.raises(AssertionError, match=r"eager@again gives 100\.0 % of the tokens other weights than eager"):
        selection.measure(selection.Anchor("softmax", 4, 2), 1, (selection.EAGER, selection.TWIN), "cpu", 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "tpu"], "--device tpu: expected one of: cpu"),
        (["--device", "cpu", "--tokens", "0"], "--rounds 40 --tokens 0: expected at least 1"),
    ],
)
def test_a_mistake_is_a_line_and_exit_code_2(options, said, capsys):
    with pytest.raises(SystemExit) as ended:
        selection.main(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
