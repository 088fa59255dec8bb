"""What docs/how-to/gptq.md says is true: its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "gptq.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example: str) -> None:
    torch.manual_seed(0)
    exec(compile(example, "example", "exec"), {"__name__": "example"})
