"""On a GPU nothing of a layer waits for the host. Axes: T tokens, D hidden size, I intermediate size, E experts."""

import warnings
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from routers import MoELayer, create_experts, create_router, get_router_class, list_routers
from routers.layer import grouped_linear, zero_computation
from routers.layer.paths import path_for, use_experts_path
from routers.layer.zero_computation import ZeroComputationExperts
from routers.routing import straight_through, token_choice
from routers.routing.shapes import shapes_are_fixed

T, D, I, E = 24, 32, 16, 8  # noqa: E741  # the intermediate size
TOKEN_CHOICE = [name for name in list_routers() if get_router_class(name).is_token_choice]
OPTIONS = {
    "plain": ({}, {}),
    "one_token": ({"tokens": 1}, {}),
    "gelu": ({"experts": "gelu"}, {}),
    "all": ({"capacity_factor": 0.75, "shared_intermediate_size": 16, "shared_gate": True}, {"mask": True}),
    "straight_through": ({"straight_through": True}, {"mask": True}),
    "copies": ({"experts": "copies"}, {}),
}


def make_layer(name, *, experts="swiglu", straight_through=False, **options):
    """A float32 router before bfloat16 experts; cast where they are made, which fake tensors cannot be afterwards."""
    router = create_router(name, hidden_size=D, num_experts=E, top_k=2, straight_through=straight_through)
    torch.set_default_dtype(torch.bfloat16)
    try:
        if experts == "copies":
            experts = ZeroComputationExperts(create_experts("swiglu", E - 2, D, I), zeros=1, copies=1)
        return MoELayer(D, I, E, router, experts=experts, **options)
    finally:
        torch.set_default_dtype(torch.float32)


def prepare(name, case, device):
    """A layer and its inputs."""
    options, inputs = OPTIONS[case]
    options = dict(options)
    tokens = options.pop("tokens", T)
    layer = make_layer(name, **options)
    hidden_states = torch.randn(1, tokens, D, dtype=torch.bfloat16, device=device)
    given = {key: torch.ones(1, tokens, dtype=torch.bool, device=device) for key in inputs}
    return layer.to(device), hidden_states, given


def fake(name, case, device):
    """The same of tensors that have a device and no numbers. A router may look at its own numbers when it is made."""
    layer, hidden_states, given = prepare(name, case, "cpu")
    with FakeTensorMode():
        for module in layer.modules():
            for key, tensor in module.named_parameters(recurse=False):
                setattr(module, key, torch.nn.Parameter(torch.empty(tensor.shape, dtype=tensor.dtype, device=device)))
            for key, tensor in module.named_buffers(recurse=False):
                setattr(module, key, torch.empty(tensor.shape, dtype=tensor.dtype, device=device))
        given = {key: torch.empty(mask.shape, dtype=mask.dtype, device=device) for key, mask in given.items()}
        return layer, torch.empty(hidden_states.shape, dtype=hidden_states.dtype, device=device), given


def step(layer, hidden_states, given):
    """Forward and backward."""
    hidden_states = hidden_states.detach().requires_grad_()
    output = layer(hidden_states, **given)
    output.sum().backward()
    return output, hidden_states.grad


@contextmanager
def waits_are_errors():
    """Inside the context, an operation that waits for the device raises, as far as torch detects it."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype", UserWarning)
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = [("linear", case) for case in OPTIONS] + [(name, "all") for name in TOKEN_CHOICE if name != "linear"]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_no_shape_follows_from_a_number(name, case, monkeypatch):
    # A fake tensor has no numbers: what would wait for one raises. Those of a GPU need a torch that was built for one,
    # so that those of a CPU go a GPU's way.
    for module in (token_choice, straight_through, zero_computation):
        monkeypatch.setattr(module, "shapes_are_fixed", lambda tensor: True)
    layer, hidden_states, given = fake(name, case, "cpu")
    with hidden_states.fake_mode, use_experts_path("grouped_mm"):
        _, gradient = step(layer, hidden_states, given)
        assert gradient.shape == hidden_states.shape
        assert all(p.grad.shape == p.shape for p in layer.experts.parameters())


def test_a_gpu_is_where_that_way_is_gone(monkeypatch):
    monkeypatch.setattr(grouped_linear, "compute_capability", lambda device: (9, 0))
    layer, hidden_states, _ = fake("linear", "plain", "cuda")
    with hidden_states.fake_mode, torch.no_grad():
        assert shapes_are_fixed(hidden_states)
        assert path_for(layer.experts, hidden_states).name == "grouped_mm"
        assert not shapes_are_fixed(torch.empty(1))


def test_where_the_grouped_product_does_not_work_experts_take_another_way(monkeypatch):
    experts = create_experts("swiglu", E, D, I)
    rows = torch.randn(4, D)
    for capability, dtype, wanted in (
        ((9, 0), torch.bfloat16, True),
        ((8, 0), torch.bfloat16, False),
        ((9, 0), torch.float32, False),
    ):
        monkeypatch.setattr(grouped_linear, "compute_capability", lambda device, found=capability: found)
        weight = experts.up_weight.to(dtype)
        assert grouped_linear.takes_grouped_mm(rows.to(dtype), weight) is wanted
        assert not grouped_linear.takes_grouped_mm(rows.to(dtype)[:, :-1], weight[..., :-1])


@needs_a_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(("name", "case"), CASES)
def test_nothing_waits_for_the_host(name, case):
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("torch's grouped product waits for the host below compute capability 9")
    layer, hidden_states, given = prepare(name, case, "cuda")
    step(layer, hidden_states, given)  # constants that are made once
    with waits_are_errors():
        step(layer, hidden_states, given)


@needs_a_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("case", OPTIONS)
def test_on_a_gpu_values_and_gradients_are_those_of_the_cpu(case):
    torch.manual_seed(0)
    layer, hidden_states, given = prepare("linear", case, "cpu")
    results = []
    for device in ("cpu", "cuda"):
        layer.to(device).zero_grad()
        found = step(layer, hidden_states.to(device), {key: mask.to(device) for key, mask in given.items()})
        found = [*found, *(p.grad for p in layer.parameters() if p.grad is not None)]
        # Copies: a module that moves takes its gradients along, in place.
        results.append([tensor.detach().cpu().clone() for tensor in found])
    for found, expected in zip(*results, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, atol=0.03 * scale + 1e-6, rtol=0)
