"""Copies of the layer, and the layer under torch's own parallelism. Axes: T tokens, D hidden size, E experts."""

import copy
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from routers import MoELayer

D, E = 16, 8


class Block(nn.Module):
    """A layer and the residual around it, as models have them."""

    def __init__(self):
        super().__init__()
        self.layer = make_layer()

    def forward(self, tokens, mask):
        return tokens + self.layer(tokens, mask=mask)


def make_layer(seed=0):
    torch.manual_seed(seed)
    return MoELayer(D, 8, E, "mlp", experts="swiglu", capacity_factor=1.0, shared_intermediate_size=8, shared_gate=True)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    store = tmp_path_factory.mktemp("processes") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_copies_and_states_are_the_layer(random_tokens):
    layer, other, tokens = make_layer(), make_layer(seed=1), random_tokens(9, D)
    expected = layer(tokens)
    assert not torch.equal(other(tokens), expected)
    other.load_state_dict(layer.state_dict(), strict=True)
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(tokens), expected)
    with pytest.raises(RuntimeError, match="shared_experts"):
        MoELayer(D, 8, E, "mlp", experts="swiglu").load_state_dict(layer.state_dict(), strict=True)


def wrapped_in_ddp(block, _mesh):
    return DistributedDataParallel(block)


def wrapped_in_fsdp(block, mesh):
    for part in (block.layer.router, block.layer.experts):
        fully_shard(part, mesh=mesh)
    return fully_shard(block, mesh=mesh)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@pytest.mark.parametrize("wrap", [wrapped_in_ddp, wrapped_in_fsdp])
def test_a_step_under_torchs_parallelism_is_the_step_without(wrap, one_process, random_tokens):
    # few tokens, so that experts have none: their gradients are 0 and not missing, which both would wait for
    tokens, mask = random_tokens(3, D), torch.tensor([True, False, True])
    plain, block = Block(), Block()
    results = []
    for module in (plain, wrap(block, one_process)):
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        output = module(tokens, mask)
        output.square().sum().backward()
        optimiser.step()
        results.append(output.detach())
    torch.testing.assert_close(results[0], results[1])
    expected, found = dict(plain.named_parameters()), dict(block.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        torch.testing.assert_close(whole(parameter), expected[name], msg=name)
