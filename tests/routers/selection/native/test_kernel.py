"""The native kernel against the float64 reference and the eager path. Axes: T tokens, E experts, K per token."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import routers
from routers import get_selection_rule, list_selection_rules
from routers.reference.rule import reference_selection
from routers.selection import use_selection_path
from routers.selection.native import NATIVE_PATH
from routers.selection.native.path import carries_out
from routers.selection.selection import UnreadSelection

pytest.importorskip("numba", reason="numba is not installed: the extra `native`")

RULES = [name for name in list_selection_rules() if carries_out(get_selection_rule(name))]
SUITED = {"deepseek_v2": 3}
BOTH_RANKINGS = [3, 40]
"""Tokens: few are ranked one after the other, many in vectors."""


def operands(rule, num_tokens, num_experts, random_tokens, seed=0):
    logits = random_tokens(num_tokens, num_experts, seed=seed)
    return logits, random_tokens(num_experts, seed=seed + 1).mul(0.3) if rule.has_bias else None


def native(rule, logits, top_k, bias=None):
    """The rule by the kernel, which must be what is taken."""
    assert NATIVE_PATH.suits(rule, logits, top_k)
    with use_selection_path("native"):
        found = rule.select(logits, top_k, bias)
    assert isinstance(found, UnreadSelection)
    return found


def eager(rule, logits, top_k, bias=None):
    with use_selection_path("eager"):
        return rule.select(logits, top_k, bias)


def dense(selected, weights, num_experts):
    return torch.zeros(len(selected), num_experts, dtype=torch.float64).scatter(1, selected, weights.double())


def expect_reference(rule, logits, top_k, bias=None, tolerance=2e-6):
    """Experts in order and weights against float64, token by token."""
    found = native(rule, logits, top_k, bias)
    exact = None if bias is None else bias.double()
    tokens = [reference_selection(rule, row, top_k, exact, None) for row in logits.double()]
    decided = [row for row, token in enumerate(tokens) if token.margin > 1e-6]
    assert len(decided) >= len(tokens) - 2
    wanted = torch.zeros(len(tokens), logits.shape[1], dtype=torch.float64)
    for row in decided:
        assert sorted(found.selected_experts[row].tolist()) == sorted(tokens[row].selected)
        wanted[row, tokens[row].selected] = torch.stack(tokens[row].weights)
    size = wanted.abs().amax().clamp_min(1)
    weights = dense(found.selected_experts, found.routing_weights, logits.shape[1])
    torch.testing.assert_close(weights[decided] / size, wanted[decided] / size, atol=tolerance, rtol=0)


@pytest.mark.parametrize("num_tokens", BOTH_RANKINGS)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_catalogue_is_the_references(name, num_tokens, random_tokens):
    rule = get_selection_rule(name, precision="float32")
    logits, bias = operands(rule, num_tokens, 24, random_tokens)
    expect_reference(rule, logits, SUITED.get(name, 4), bias)


SIZES = {
    "one token, one expert": ("softmax", 1, 1, 1, {}),
    "every expert selected": ("qwen2_moe", 2, 5, 5, {}),
    "an odd number of experts": ("glm4_moe", 33, 7, 2, {}),
    "no power of two, and groups of three": ("deepseek_v3", 3, 15, 4, {"num_groups": 5, "groups_kept": 2}),
    "groups in vectors": ("deepseek_v3", 50, 15, 4, {"num_groups": 5, "groups_kept": 2}),
    "groups of one": ("mistral4", 40, 6, 2, {"num_groups": 6, "groups_kept": 3, "precision": "float32"}),
    "the largest": ("minimax_m2", 40, 896, 16, {}),
    "LongCat's": ("longcat_flash", 2, 768, 12, {}),
    "DeepSeek-V3's": ("deepseek_v3", 70, 256, 8, {}),
    "a soft cap": ("laguna", 40, 33, 3, {"soft_cap": 0.7}),
    "a sum that is too small": ("ernie4_5_moe", 2, 16, 3, {"least_sum": 5.0}),
    "logits as weights": ("softmax", 40, 9, 2, {"score_function": "identity", "norm_topk_prob": False}),
    "softmax of what a bias has ranked": ("kolibri1", 2, 9, 3, {"weighed_by": "softmax"}),
    "several blocks and a rest": ("softmax", 600, 8, 2, {}),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_fields_that_the_catalogue_has_not(size, random_tokens):
    name, num_tokens, num_experts, top_k, fields = SIZES[size]
    rule = get_selection_rule(name, **fields)
    logits, bias = operands(rule, num_tokens, num_experts, random_tokens)
    expect_reference(rule, logits, top_k, bias)


@given(
    st.sampled_from(RULES),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(0, 1000),
    st.sampled_from([0.01, 1.0, 30.0]),
)
def test_the_kernel_is_the_eager_path_at_any_size(name, num_tokens, experts, top_k, seed, spread):
    rule = get_selection_rule(name, precision="float32")
    num_experts = experts * rule.num_groups
    top_k = min(top_k, rule.groups_left * experts)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_tokens, num_experts, generator=generator) * spread
    bias = torch.randn(num_experts, generator=generator) * 0.1 if rule.has_bias else None
    found, expected = native(rule, logits, top_k, bias), eager(rule, logits, top_k, bias)
    # What is alike, or as good as alike, may stand in either order; of groups, whole ones.
    ranked = expected.ranked if rule.num_groups == 1 else None
    if ranked is not None:
        torch.testing.assert_close(
            ranked.gather(1, found.selected_experts), ranked.gather(1, expected.selected_experts), atol=1e-6, rtol=1e-5
        )
    same = (found.selected_experts == expected.selected_experts).all(dim=1)
    torch.testing.assert_close(
        found.routing_weights[same], expected.routing_weights[same], atol=2e-6 * max(1, abs(rule.scale)), rtol=2e-5
    )


def test_logits_by_expert_and_every_other_token(random_tokens):
    rule = get_selection_rule("softmax")
    for logits in (random_tokens(8, 300).t(), random_tokens(300, 16)[::3, 1::2]):
        expect_reference(rule, logits, 2)


@pytest.mark.parametrize("copies", BOTH_RANKINGS)
def test_ties_go_to_the_lowest_index_and_zeros_have_no_sign(copies):
    rows = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0, 0.0], [0.0, -0.0, -1.0, -0.0, 0.0, -1.0]])
    for rule in ("softmax", "qwen2_moe", "flint", "granitemoe"):
        selected = native(get_selection_rule(rule), rows.repeat(copies, 1), 3).selected_experts
        assert selected.tolist() == [[1, 3, 0], [0, 1, 3]] * copies


@pytest.mark.parametrize("copies", BOTH_RANKINGS)
@pytest.mark.parametrize("name", ["softmax", "qwen2_moe", "glm4_moe", "deepseek_v4", "kolibri1", "deepseek_v3"])
def test_nan_and_infinity_are_what_the_eager_path_makes_of_them(name, copies, random_tokens):
    fields = {"num_groups": 2, "groups_kept": 1} if name == "deepseek_v3" else {}
    rule = get_selection_rule(name, **fields)
    logits, bias = operands(rule, 5, 8, random_tokens)
    logits[0, 3] = math.nan
    logits[1] = -math.inf
    logits[1, [2, 6, 7]] = torch.tensor([0.5, 0.25, 0.0])
    logits[2, 1] = -math.inf
    logits[3] = -math.inf
    logits = logits.repeat(copies, 1)
    found, expected = native(rule, logits, 3, bias), eager(rule, logits, 3, bias)
    assert bool((found.selected_experts < 8).all())
    assert bool((found.selected_experts >= 0).all())
    assert all(len(set(row)) == 3 for row in found.selected_experts.tolist())
    assert found.routing_weights[0].isnan().any().equal(expected.routing_weights[0].isnan().any())
    for row in (1, 2, 4):
        torch.testing.assert_close(
            dense(found.selected_experts, found.routing_weights, 8)[row],
            dense(expected.selected_experts, expected.routing_weights, 8)[row],
            equal_nan=True,
            atol=1e-6,
            rtol=1e-5,
        )
    if name not in ("softmax", "qwen2_moe", "deepseek_v3"):  # whose every score, or group, is then NaN
        assert 3 in found.selected_experts[0].tolist()


def test_no_tokens():
    found = native(get_selection_rule("softmax"), torch.zeros(0, 8), 2)
    assert found.selected_experts.shape == found.routing_weights.shape == (0, 2)


def test_scores_and_what_is_ranked_are_made_when_they_are_read(random_tokens):
    rule = get_selection_rule("glm4_moe")
    logits, bias = operands(rule, 3, 8, random_tokens)
    for one, other in zip(native(rule, logits, 2, bias), eager(rule, logits, 2, bias), strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)


def test_exponentials_are_right_to_the_last_places():
    from routers.native.compiled import step
    from routers.selection.native.steps import exp

    @step
    def all_of(values, found):
        for place in range(len(values)):
            found[place] = exp(values[place])

    values = torch.linspace(-87, 88, 100_001).numpy()
    found = values.copy()
    all_of(values, found)
    exact = torch.from_numpy(values).double().exp()
    assert float(((torch.from_numpy(found).double() - exact) / exact).abs().max()) < 2.0**-23
    edges = torch.tensor([0.0, -0.0, -math.inf, -1000.0, math.inf, 1000.0, math.nan]).numpy()
    found = edges.copy()
    all_of(edges, found)
    torch.testing.assert_close(
        torch.from_numpy(found), torch.tensor([1.0, 1.0, 0.0, 0.0, math.inf, math.inf, math.nan]), equal_nan=True
    )


def test_what_is_compiled_is_kept_and_made_anew_when_a_step_changes(tmp_path):
    """numba's cache looks at the file of a kernel alone: a stamp has to know of the others."""
    root = Path(routers.__file__).parent
    copy = tmp_path / "routers"
    for path in root.rglob("*.py"):
        (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(root)).write_bytes(path.read_bytes())
    script = (
        "import torch, routers; from routers.selection import use_selection_path as u\n"
        "with u('native'), torch.no_grad():\n"
        "    r = routers.get_selection_rule('qwen2_moe').select(torch.eye(3), 1)\n"
        "from routers.selection.native.kernels import select\n"
        "print(round(float(r.routing_weights[0]), 3), *select.stats.cache_hits.values())"
    )

    def run():
        command = [sys.executable, "-c", script]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert run() == ["0.576"]  # e / (e + 2), and nothing out of the cache
    assert run() == ["0.576", "1"]
    steps = copy / "selection" / "native" / "steps.py"
    steps.write_text(
        steps.read_text().replace("values[row, lane] /= room[lane]", "values[row, lane] /= room[lane] * 2")
    )
    assert run() == ["0.288"]
