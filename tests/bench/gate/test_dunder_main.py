"""`python -m bench.gate` in a checkout that does not work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).parents[3] / "bench" / "gate"


def run(tmp_path: Path, content: str) -> subprocess.CompletedProcess[str]:
    """The command, where that has this content."""
    package = tmp_path / "bench" / "gate"
    package.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(GATE / name, package)
    (package.parent / "__init__.py").touch()
    (package / "command.py").write_text(content)
    command = [sys.executable, "-m", "bench.gate", "main"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_a_fault_of_the_gate_itself_is_no_regression(tmp_path: Path) -> None:
    done = run(tmp_path, "def main():\n    raise KeyError('no such thing')")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "KeyError: 'no such thing'"


@pytest.mark.parametrize(
    ("content", "error"),
    [("def main(:", "SyntaxError"), ("import no_such_module", "ModuleNotFoundError"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_checkout_that_does_not_import_is_no_regression(tmp_path: Path, content: str, error: str) -> None:
    done = run(tmp_path, content)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"gate: the checkout that it runs from does not import: {error}")
