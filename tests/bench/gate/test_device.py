"""The gate's `--device`: what its workers are told, and where it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.gate.command import main
from bench.gate.settings import GateSettings, Rules
from bench.presets import get_preset

CPU = GateSettings(get_preset("smoke"), None, Rules(), budget_s=1, limit_s=1, threads=1)


def test_workers_are_told_of_a_device_that_not_every_revision_knows() -> None:
    cuda = replace(CPU, device="cuda")
    assert "--device" not in CPU.worker_options()
    assert cuda.worker_options()[-2:] == ["--device", "cuda"]
    assert (CPU.as_dict()["device"], cuda.as_dict()["device"]) == ("cpu", "cuda")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("main", "--device", "tpu"), "unknown device 'tpu'; on this machine there are: cpu"),
        (("--self-test", "--device", "cuda"), "--self-test makes calls slower on the host"),
    ],
)
def test_a_device_that_cannot_be_judged_on_is_one_line(
    options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = ["cpu"] if "tpu" in options else ["cpu", "cuda"]
    monkeypatch.setattr("bench.gate.command.available_devices", lambda: devices)
    with pytest.raises(SystemExit) as ended:
        main(list(options))
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
