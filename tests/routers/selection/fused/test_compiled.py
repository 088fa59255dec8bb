"""The kernels compiled ahead for cards that need not be there: every rule, forward and backward.

Axes: T tokens, E experts, K experts per token.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import routers

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: tox run -e kernel")
ROOT = Path(routers.__file__).parents[1]


def compiled(*arguments, program="compile_ahead.py"):
    """What a program says, a line a kernel, in a process in which kernels are compiled and not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(program)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return [dict(pair.split("=") for pair in line.split()) for line in done.stdout.splitlines()]


def barriers_of_the_stores():
    """Triton 3.6 changes the layout of what is stored through shared memory, once a program; 3.9 does not."""
    major, minor = map(int, version("triton").split(".")[:2])
    return 0 if (major, minor) >= (3, 9) else 3


@pytest.mark.parametrize("architecture", ["80", "90"])
def test_every_rule_compiles_for_a_card(architecture):
    found = compiled(architecture, "every-rule")
    assert len(found) >= 20
    for kernel in found:
        assert int(kernel["spilled"]) == 0, kernel


def test_the_sizes_of_models_need_no_barrier_and_no_memory_of_threads():
    for kernel in compiled("90", "sizes"):
        # A warp has whole rows: no thread waits for another warp's, and a maximum is one instruction.
        assert int(kernel["barriers"]) <= barriers_of_the_stores(), kernel
        assert int(kernel["spilled"]) <= 16, kernel  # of 896 experts, whose columns fill a warp's registers
        if kernel["kernel"] == "select_forward":
            assert int(kernel["redux"]) >= 2 * int(kernel["K"]), kernel
        assert int(kernel["vector_loads"]) >= 1, kernel


def test_triton_looks_for_a_kernel_once_and_for_others_where_it_tells_them_apart():
    found = compiled(program="launches.py")
    assert all(launch["same"] == "True" for launch in found), found
    # Forward and backward: again for another address or dtype, not for other tensors of the same kind.
    assert [launch["looked"] for launch in found] == ["2", "0", "2", "2", "0"] * 3
