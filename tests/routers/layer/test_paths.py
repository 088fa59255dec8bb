"""The ways in which experts compute have the same values and gradients. Axes: N rows, D, I, E experts, O outputs."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from routers import create_experts
from routers.layer.gradient_memory import SMALLEST, untouched_zeros
from routers.layer.paths import PATHS, path_for, use_experts_path
from routers.layer.products import FEW_ROWS, Blocks, GroupedLinear
from routers.reference.check import reference_expert

D, I, E = 8, 12, 5  # noqa: E741  # the intermediate size
INDEX = {
    "some_without_a_row": [0, 2, 2, 2, 4, 4, 4, 4],
    "one_takes_all": [3] * 7,
    "one_row": [1],
    "no_row": [],
    "few_rows_each": [0, 0, 1, 1, 1, 3, 3],
}


def gradients(experts, rows, output):
    torch.manual_seed(2)
    inputs = [rows, *experts.parameters()]
    return torch.autograd.grad((output * torch.randn(output.shape).to(output)).sum(), inputs)


@pytest.mark.parametrize("index", INDEX)
@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
@pytest.mark.parametrize("name", PATHS)
def test_a_path_equals_the_reference(name, kind, index, random_tokens):
    torch.manual_seed(0)
    experts, index = create_experts(kind, E, D, I), torch.tensor(INDEX[index], dtype=torch.int64)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_()
    rows = random_tokens(len(index), D).requires_grad_()
    with use_experts_path(name):
        output = experts(rows, index)
        found = [output, *gradients(experts, rows, output)]
        with torch.no_grad():
            torch.testing.assert_close(experts(rows, index), output)
    experts.double()
    exact = rows.detach().double().requires_grad_()
    wanted = [reference_expert(experts, e, row) for e, row in zip(index.tolist(), exact, strict=True)]
    expected = (
        torch.stack(wanted) if wanted else exact.sum() * 0 + sum(p.sum() * 0 for p in experts.parameters()) + exact
    )
    expected = [expected, *gradients(experts, exact, expected)]
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one.double(), other, atol=1e-5 * scale + 1e-6, rtol=0)


def test_gradients_of_a_whole_bank_have_gradients(random_tokens):
    blocks = Blocks.of(torch.tensor([0, 0, 2]), 3)
    rows = random_tokens(3, 3, dtype=torch.float64).requires_grad_()
    weight = random_tokens(3, 2, 3, seed=1, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x, w: GroupedLinear.apply(x, w, blocks), (rows, weight))
    assert gradgradcheck(lambda x, w: GroupedLinear.apply(x, w, blocks), (rows, weight))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, with the first dual number
def test_which_path_is_taken(random_tokens):
    few, many, rows = create_experts("swiglu", E, D, I), create_experts("swiglu", 32, D, I), random_tokens(32, D)
    assert path_for(few, rows).name == "whole_bank"
    with torch.no_grad():
        assert (path_for(few, rows).name, path_for(many, rows).name) == ("each_expert", "whole_bank")
        assert path_for(many, rows[:8]).name == "each_expert"
    with torch.autocast("cpu", torch.bfloat16):
        assert path_for(few, rows).name == "each_expert"
    few.requires_grad_(False)
    assert path_for(few, rows).name == "each_expert"
    assert path_for(few, rows.requires_grad_()).name == "whole_bank"
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(random_tokens(2, D), random_tokens(2, D))
        output = few(dual.requires_grad_(), torch.tensor([0, 1]))
        assert torch.autograd.forward_ad.unpack_dual(output).tangent is not None


def test_a_path_that_there_is_not():
    with pytest.raises(
        ValueError, match="unknown experts' path 'fast'; there are: graph, grouped_mm, whole_bank, each"
    ):
        use_experts_path("fast").__enter__()
    assert FEW_ROWS == (2, 3)


def test_a_large_gradient_is_zero_where_no_row_is_and_is_kept_without_a_copy():
    # 3 matrices of 2 experts, each bank of 4.7 MB: above the size from which memory is the system's own
    experts = create_experts("swiglu", 2, 768, 768)
    assert experts.up_weight.numel() * 4 > SMALLEST
    found = []
    experts.up_weight.register_hook(lambda gradient: found.append(gradient.data_ptr()))
    experts(torch.randn(3, 768), torch.ones(3, dtype=torch.int64)).sum().backward()
    assert not experts.up_weight.grad[0].any()
    assert experts.up_weight.grad[1].all()
    assert experts.up_weight.grad.data_ptr() == found[0]
    experts.up_weight.grad.add_(1.0)  # it can be written, and saved
    assert torch.equal(experts.up_weight.grad[0].clone(), torch.ones(768, 768))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_untouched_zeros_are_zeros_of_the_dtype(dtype):
    for shape in ((2, 3, 4), (3, 1 << 20), (0, 5)):
        zeros = untouched_zeros(shape, torch.empty(1, dtype=dtype))
        assert (zeros.shape, zeros.dtype, zeros.is_contiguous()) == (shape, dtype, True)
        assert not zeros.any()
