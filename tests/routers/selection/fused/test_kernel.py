"""The kernel against the float64 reference and the eager path: on the CPU in Triton's interpreter, compiled on a card.

Axes: T tokens, E experts, K experts per token.
"""

import math
from dataclasses import replace

import pytest
import torch

from routers import SelectionRule, get_selection_rule, list_selection_rules
from routers.reference.rule import reference_selection
from routers.selection.fused import FUSED_PATH
from routers.selection.fused.path import interpreted
from routers.selection.fused.selection import FusedSelection
from routers.selection.paths import use_selection_path

pytest.importorskip("triton", reason="triton is not installed: tox run -e kernel")
INTERPRETED = pytest.param(
    "cpu", marks=pytest.mark.skipif(not interpreted(), reason="TRITON_INTERPRET is not 1: tox run -e kernel")
)
ON_A_CARD = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available() or interpreted(), reason="no CUDA device"),
    ],
)
pytestmark = [
    pytest.mark.parametrize("device", [INTERPRETED, ON_A_CARD]),
    # The interpreter computes with NumPy, which remarks on infinities in what is not chosen; a card does not.
    pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero) encountered:RuntimeWarning"),
]

RULES = [name for name in list_selection_rules() if get_selection_rule(name).how_many == "top_k"]
SUITED = {"deepseek_v2": 3}


def operands(rule, num_tokens, num_experts, random_tokens, device, dtype=torch.float32, seed=0):
    """Logits, a bias and factors, of which the first and the last want gradients."""
    logits = rule.in_precision(random_tokens(num_tokens, num_experts, seed=seed).to(device, dtype)).requires_grad_()
    bias = random_tokens(num_experts, seed=seed + 1).mul(0.3).to(device) if rule.has_bias else None
    factors = random_tokens(num_experts, seed=seed + 2).to(device).requires_grad_() if rule.expert_scale else None
    return logits, bias, factors


def fused(rule, logits, top_k, bias=None, expert_scale=None):
    """The rule by the kernel, which must be what is taken."""
    assert FUSED_PATH.suits(rule, logits, top_k)
    with use_selection_path("fused"):
        found = rule.select(logits, top_k, bias, expert_scale)
    assert isinstance(found, FusedSelection)
    return found


def eager(rule, logits, top_k, bias=None, expert_scale=None):
    with use_selection_path("eager"):
        return rule.select(logits, top_k, bias, expert_scale)


def dense(selected, weights, num_experts):
    return torch.zeros(len(selected), num_experts, dtype=torch.float64, device=selected.device).scatter(
        1, selected, weights.double()
    )


def expect_reference(rule, logits, top_k, bias=None, factors=None, tolerance=2e-5):
    """Experts in order, weights, and the gradients of logits and factors, against float64, token by token."""
    found = fused(rule, logits, top_k, bias, factors)
    exact = [
        None if each is None else each.detach().cpu().double().requires_grad_() for each in (logits, bias, factors)
    ]
    tokens = [reference_selection(rule, row, top_k, *exact[1:]) for row in exact[0]]
    decided = [row for row, token in enumerate(tokens) if token.margin > 1e-5]
    assert len(decided) >= len(tokens) - 1
    chosen = found.selected_experts.cpu()
    wanted = torch.zeros(len(tokens), logits.shape[1], dtype=torch.float64)
    for row in decided:
        assert sorted(chosen[row].tolist()) == sorted(tokens[row].selected)
        wanted[row, tokens[row].selected] = torch.stack(tokens[row].weights)
    size = wanted.detach().abs().amax().clamp_min(1)
    weights = dense(found.selected_experts, found.routing_weights, logits.shape[1]).cpu()
    torch.testing.assert_close(weights[decided] / size, wanted[decided] / size, atol=tolerance, rtol=0)
    if not wanted.requires_grad:
        return
    direction = torch.randn(wanted.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    leaves = [each for each in (logits, factors) if each is not None]
    given = torch.autograd.grad((weights[decided] * direction[decided]).sum(), leaves)
    exact_leaves = [exact[0], *([exact[2]] if factors is not None else [])]
    asked = torch.autograd.grad((wanted[decided] * direction[decided]).sum(), exact_leaves)
    for one, other in zip(given, asked, strict=True):
        largest = other.abs().amax().clamp_min(1)
        torch.testing.assert_close(one.cpu().double() / largest, other / largest, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_catalogue_is_the_references(name, device, random_tokens):
    rule = get_selection_rule(name, precision="float32")
    logits, bias, factors = operands(rule, 3, 24, random_tokens, device)
    expect_reference(rule, logits, SUITED.get(name, 4), bias, factors)


SIZES = {
    "one token, one expert": ("softmax", 1, 1, 1, {}),
    "every expert selected": ("qwen2_moe", 2, 5, 5, {}),
    "an odd number of experts": ("glm4_moe", 3, 7, 2, {}),
    "no power of two, and groups of three": ("deepseek_v3", 3, 15, 4, {"num_groups": 5, "groups_kept": 2}),
    "groups of one": ("mistral4", 2, 6, 2, {"num_groups": 6, "groups_kept": 3, "precision": "float32"}),
    "the largest": ("minimax_m2", 2, 896, 16, {}),
    "LongCat's": ("longcat_flash", 2, 768, 12, {}),
    "DeepSeek-V3's": ("deepseek_v3", 2, 256, 8, {}),
    "a soft cap": ("laguna", 2, 33, 3, {"soft_cap": 0.7}),
    "a sum that is too small": ("ernie4_5_moe", 2, 16, 3, {"least_sum": 5.0}),
    "logits as weights": ("softmax", 2, 9, 2, {"score_function": "identity", "norm_topk_prob": False}),
    "softmax of what a bias has ranked": ("kolibri1", 2, 9, 3, {"weighed_by": "softmax"}),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_fields_that_the_catalogue_has_not(size, device, random_tokens):
    name, num_tokens, num_experts, top_k, fields = SIZES[size]
    rule = get_selection_rule(name, **fields)
    logits, bias, factors = operands(rule, num_tokens, num_experts, random_tokens, device)
    expect_reference(rule, logits, top_k, bias, factors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["dbrx", "gpt_oss", "lfm2_moe", "mistral4", "deepseek_v4"])
def test_half_precision_is_rounded_as_the_eager_path_rounds(name, dtype, device, random_tokens):
    rule = get_selection_rule(name)
    logits, bias, factors = operands(rule, 4, 16, random_tokens, device, dtype)
    found, expected = fused(rule, logits, 4, bias, factors), eager(rule, logits, 4, bias, factors)
    assert found.routing_weights.dtype == expected.routing_weights.dtype == dtype
    # Those whose rounded scores are alike may stand in either order: values are compared, not experts. The interpreter
    # cuts a bfloat16 off instead of rounding it, so that scores differ by one in their last place.
    last_place = 2.0**-7 if dtype == torch.bfloat16 and device == "cpu" else 0.0
    taken = expected.ranked.gather(1, found.selected_experts)
    asked_for = expected.ranked.gather(1, expected.selected_experts)
    torch.testing.assert_close(taken, asked_for, atol=last_place, rtol=last_place)
    torch.testing.assert_close(
        dense(found.selected_experts, found.routing_weights, 16),
        dense(expected.selected_experts, expected.routing_weights, 16),
        atol=1e-3 + last_place,
        rtol=4 * last_place,
    )
    direction = torch.arange(16.0, device=device).view(4, 4).to(dtype)
    given = torch.autograd.grad((found.routing_weights * direction).sum(), logits)[0]
    with use_selection_path("eager"):
        exact = logits.detach().double().requires_grad_()
        everything = replace(rule, precision="float32").select(exact, 4, bias, factors)
    asked = torch.autograd.grad((everything.routing_weights * direction).sum(), exact)[0]
    if torch.equal(everything.selected_experts, found.selected_experts):
        torch.testing.assert_close(given.double(), asked, atol=0.15, rtol=0.1)


def test_ties_go_to_the_lowest_index_and_zeros_have_no_sign(device):
    logits = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0, 0.0], [0.0, -0.0, -1.0, -0.0, 0.0, -1.0]], device=device)
    for rule in ("softmax", "qwen2_moe", "flint", "granitemoe"):
        assert fused(get_selection_rule(rule), logits, 3).selected_experts.tolist() == [[1, 3, 0], [0, 1, 3]]


@pytest.mark.parametrize("name", ["softmax", "qwen2_moe", "glm4_moe", "deepseek_v4", "kolibri1", "deepseek_v3"])
def test_nan_and_infinity_are_what_the_eager_path_makes_of_them(name, device, random_tokens):
    fields = {"num_groups": 2, "groups_kept": 1} if name == "deepseek_v3" else {}
    rule = get_selection_rule(name, **fields)
    logits, bias, _ = operands(rule, 5, 8, random_tokens, device)
    logits = logits.detach()
    logits[0, 3] = math.nan
    logits[1] = -math.inf
    logits[1, [2, 6, 7]] = torch.tensor([0.5, 0.25, 0.0], device=device)
    logits[2, 1] = -math.inf
    logits[3] = -math.inf
    found, expected = fused(rule, logits, 3, bias), eager(rule, logits, 3, bias)
    assert bool((found.selected_experts < 8).all())
    assert bool((found.selected_experts >= 0).all())
    assert all(len(set(row)) == 3 for row in found.selected_experts.tolist())
    assert found.routing_weights[0].isnan().any().equal(expected.routing_weights[0].isnan().any())
    for row in (1, 2, 4):
        torch.testing.assert_close(
            dense(found.selected_experts, found.routing_weights, 8)[row],
            dense(expected.selected_experts, expected.routing_weights, 8)[row],
            equal_nan=True,
        )
    if name != "softmax" and name != "qwen2_moe":  # of which every score is then NaN, and the order unspecified
        assert 3 in found.selected_experts[0].tolist()


def test_many_tokens_share_a_program(device, random_tokens):
    rule = get_selection_rule("gemma4")
    logits, _, factors = operands(rule, 1029, 6, random_tokens, device)
    found, expected = fused(rule, logits, 2, None, factors), eager(rule, logits, 2, None, factors)
    assert torch.equal(found.selected_experts, expected.selected_experts)
    torch.testing.assert_close(found.routing_weights, expected.routing_weights)
    direction = random_tokens(1029, 2, seed=9).to(device)
    given = torch.autograd.grad((found.routing_weights * direction).sum(), [logits, factors])
    asked = torch.autograd.grad((expected.routing_weights * direction).sum(), [logits, factors])
    torch.testing.assert_close(given, asked, atol=1e-4, rtol=1e-4)


def test_no_tokens(device):
    logits = torch.zeros(0, 8, device=device, requires_grad=True)
    found = fused(get_selection_rule("softmax"), logits, 2)
    assert found.selected_experts.shape == found.routing_weights.shape == (0, 2)
    found.routing_weights.sum().backward()
    assert logits.grad.shape == (0, 8)


def test_scores_and_what_is_ranked_are_made_when_they_are_read_with_their_gradients(device, random_tokens):
    rule = get_selection_rule("glm4_moe")
    logits, bias, _ = operands(rule, 3, 8, random_tokens, device)
    found, expected = fused(rule, logits, 2, bias), eager(rule, logits, 2, bias)
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)
    for what in ("scores", "ranked"):
        given = torch.autograd.grad(getattr(found, what).square().sum(), logits)
        asked = torch.autograd.grad(getattr(expected, what).square().sum(), logits, retain_graph=True)
        torch.testing.assert_close(given, asked)


def test_logits_that_are_not_contiguous(device, random_tokens):
    rule = get_selection_rule("softmax")
    logits = random_tokens(8, 3).to(device).t().requires_grad_()
    expect_reference(rule, logits, 2)


def test_what_the_kernel_does_not_do_is_left_to_the_eager_path(device):
    rule, logits = SelectionRule(), torch.zeros(2, 8, device=device)
    assert FUSED_PATH.suits(rule, logits, 2)
    assert not FUSED_PATH.suits(get_selection_rule("top_p"), logits, 2)
    assert not FUSED_PATH.suits(rule, logits.double(), 2)
    assert not FUSED_PATH.suits(rule, torch.zeros(2, 1000, device=device), 2)
    assert not FUSED_PATH.suits(rule, torch.zeros(2, 32, device=device), 17)
    assert FUSED_PATH.wins(rule, logits, 2) is (device == "cuda")


@pytest.mark.parametrize("name", ["softmax", "qwen2_moe", "glm4_moe", "deepseek_v4", "gemma4", "kolibri1"])
def test_a_router_with_the_kernel_is_the_router_without(name, device, make_router, random_tokens):
    tokens = random_tokens(5, 16).to(device)

    def everything(path):
        router = make_router("linear", hidden_size=16, num_experts=6, selection=name).to(device)
        with use_selection_path(path):
            routing = router(tokens)
        read = [routing.routing_weights, routing.router_probs, routing.router_scores, routing.ranked]
        sum(each.square().sum() for each in read).backward()
        return [routing.selected_experts, *read, *(parameter.grad for parameter in router.parameters())]

    torch.testing.assert_close(everything("fused"), everything("eager"))


def test_a_backward_that_fails_is_said_once_and_made_by_the_eager_steps(device, monkeypatch, random_tokens):
    from routers.selection.fused import launch, path

    def fail(*_):
        raise RuntimeError("ptxas: no such file")

    rule = get_selection_rule("gemma4")
    logits, _, factors = operands(rule, 3, 8, random_tokens, device)
    direction = random_tokens(3, 2).to(device)
    asked = torch.autograd.grad(
        (eager(rule, logits, 2, None, factors).routing_weights * direction).sum(), [logits, factors]
    )
    weights = fused(rule, logits, 2, None, factors).routing_weights
    monkeypatch.setattr(launch, "gradients", fail)
    monkeypatch.setattr(path, "_faults", [])
    with pytest.warns(UserWarning, match="eager path is taken from now on: RuntimeError: ptxas"):
        given = torch.autograd.grad((weights * direction).sum(), [logits, factors])
    torch.testing.assert_close(given, asked)
    assert not FUSED_PATH.suits(rule, logits, 2)


def test_transforms_see_the_eager_steps(device, random_tokens):
    rule, logits = get_selection_rule("qwen2_moe"), random_tokens(3, 8).to(device)

    def weights(logits):
        return rule.select(logits, 2).routing_weights.square().sum()

    with use_selection_path("fused"):
        given = torch.func.grad(weights)(logits)
        by_row = torch.func.vmap(torch.func.grad(lambda row: weights(row.unsqueeze(0))))(logits)
    with use_selection_path("eager"):
        asked = torch.func.grad(weights)(logits)
    torch.testing.assert_close(given, asked)
    torch.testing.assert_close(by_row, asked)


def test_a_compiled_router_is_one_graph_and_does_what_the_kernel_does(device, compiler, make_router, random_tokens):
    router, tokens = make_router("linear", hidden_size=16, num_experts=6).to(device), random_tokens(5, 16).to(device)
    with use_selection_path("fused"):
        expected = router(tokens)
        found = torch.compile(lambda tokens: router(tokens).routing_weights, fullgraph=True, backend="eager")(tokens)
    torch.testing.assert_close(found, expected.routing_weights)
