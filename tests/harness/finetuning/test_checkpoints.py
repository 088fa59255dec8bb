"""Only what was sealed and has not changed since is a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.finetuning.checkpoints import SEAL, newest_checkpoint, remove_unfinished, seal, write_json
from harness.finetuning.settings import FinetuneError

RUN = {"plan": "a", "seed": 3}


def checkpoint(folder: Path, step: int, *, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_bytes(bytes(range(step)))
    (path / "state").write_text("{}")
    if sealed:
        seal(path, RUN)
    return path


def test_the_newest_is_that_of_the_latest_step(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, RUN) is None
    for step in (10, 9, 100):
        checkpoint(tmp_path, step)
    assert newest_checkpoint(tmp_path, RUN) == tmp_path / "checkpoint-100"


def test_an_unfinished_one_does_not_count_and_is_removed(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, 10)
    killed = checkpoint(tmp_path, 20, sealed=False)
    assert newest_checkpoint(tmp_path, RUN) == first
    remove_unfinished(tmp_path)
    assert first.exists()
    assert not killed.exists()


def test_another_runs_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    with pytest.raises(FinetuneError, match=r"checkpoint-10: another run's checkpoint \(different: more, seed\)$"):
        newest_checkpoint(tmp_path, RUN | {"seed": 4, "more": 1})


@pytest.mark.parametrize("harm", ["truncated", "changed", "removed", "added", "no seal"])
def test_a_changed_one_is_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    path = checkpoint(tmp_path, 10)
    {
        "truncated": lambda: (path / "weights").write_bytes(b""),
        "changed": lambda: (path / "weights").write_bytes(bytes(range(1, 11))),
        "removed": lambda: (path / "weights").unlink(),
        "added": lambda: (path / "more").touch(),
        "no seal": lambda: (path / SEAL).write_text("[1"),
    }[harm]()
    with pytest.raises(FinetuneError, match=r"checkpoint-10.*remove .* to go on from the one before") as error:
        newest_checkpoint(tmp_path, RUN)
    assert "\n" not in str(error.value)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1\n}\n'
    with pytest.raises(FinetuneError, match="cannot be written"):
        write_json(path / "below" / "y.json", {})
