"""When native kernels are used, and that nothing fails where they cannot be. Axes: T tokens, D hidden size."""

import os
import subprocess
import sys
import textwrap
import warnings
from importlib.util import find_spec

import pytest
import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from routers.native import give_up, has_native_kernels, is_plain, operators_are_seen, use, use_native_kernels


@pytest.fixture
def unharmed(monkeypatch):
    """A process in which no kernel has failed."""
    monkeypatch.setattr(use, "_faults", [])


def test_are_there_where_numba_is_and_can_be_left_out(unharmed):
    assert has_native_kernels() is (find_spec("numba") is not None)
    with use_native_kernels(False):
        assert not has_native_kernels()
        with use_native_kernels(True):
            assert has_native_kernels() is (find_spec("numba") is not None)


def test_the_environment_leaves_them_out():
    program = "from routers.native import has_native_kernels; print(has_native_kernels())"
    environment = {**os.environ, "MOE_ROUTER_NATIVE": "0"}
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "False\n"


def test_the_first_fault_is_said_once_and_is_the_end_of_them(unharmed):
    with pytest.warns(UserWarning, match="torch's operators take their place from now on: OSError: libLLVM"):
        give_up(OSError("libLLVM.so: no such file\nand much more"))
    with warnings.catch_warnings(action="error"):
        give_up(OSError("again"))
    assert not has_native_kernels()


class _Functions(TorchFunctionMode):
    pass


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_whoever_looks_at_operators_is_noticed():
    assert not operators_are_seen()
    for mode in (_Functions(), _Operators(), forward_ad.dual_level()):
        with mode:
            assert operators_are_seen()
    assert not operators_are_seen()
    seen = []
    torch.func.vmap(lambda row: (seen.append(operators_are_seen()), row)[1])(torch.zeros(2, 3))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.trace(lambda x: (seen.append(operators_are_seen()), x + 1)[1], torch.zeros(2), check_trace=False)
    assert seen == [True, True]


class _Subclass(torch.Tensor):
    pass


def test_a_tensor_is_plain_when_the_kernel_reads_what_torch_would():
    tensor = torch.zeros(2, 4)
    assert is_plain(tensor)
    assert is_plain(tensor.t())
    assert is_plain(torch.nn.Parameter(tensor, requires_grad=False))
    learned = torch.nn.Parameter(tensor)
    assert not is_plain(learned)
    with torch.no_grad():
        assert is_plain(learned)
    negative = torch.zeros(2, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    others = [tensor.double(), tensor.bfloat16(), tensor.to("meta"), tensor.to_sparse(), negative]
    for other in (*others, tensor.as_subclass(_Subclass)):
        assert not is_plain(other)


def test_a_broken_numba_is_said_once_and_torchs_operators_go_on(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('libLLVM.so: undefined symbol')")
    script = """
        import sys, warnings
        sys.path.insert(0, sys.argv[1])
        import torch
        from routers import create_router
        tokens = torch.randn(100, 64)
        with torch.no_grad(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for name in ("linear", "linear", "hash"):
                found = create_router(name, hidden_size=64, num_experts=8, top_k=2)(tokens)
                assert found.selected_experts.shape[0] == 100
        print(*(each.message for each in said), sep="\\n")
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed == [
        "native kernels cannot be used, and torch's operators take their place from now on: "
        "ImportError: libLLVM.so: undefined symbol"
    ]
