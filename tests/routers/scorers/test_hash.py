"""Hash router, equations (9) to (11). Axes: T tokens, D hidden size, E experts."""

import pydoc_data.topics
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import routers
from routers.metrics import coefficient_of_variation, tokens_per_expert
from routers.scorers.hash import balanced_assignment

ROOT = Path(routers.__file__).parents[1]
MASK, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15


def splitmix64(number):
    """Its finaliser, as published by Steele et al. 2014."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def plain_mix(key, num_experts):
    """One round of the finaliser, its upper half modulo E."""
    return ((((key ^ (key >> 32)) * 0xBF58476D1CE4E5B9) & MASK) >> 32) % num_experts


def plain_weights(seed):
    """32 outputs of SplitMix64 after its seed, made odd."""
    return [splitmix64((seed + i * GOLDEN) & MASK) | 1 for i in range(1, 33)]


def plain_expert(values, num_experts, seed=0):
    """The router's definition in Python's integers: float32 bits, 64-bit words, 32 lanes."""
    padded = [*values, *[0.0] * (-len(values) % 64)]
    words = struct.unpack(f"<{len(padded) // 2}Q", struct.pack(f"<{len(padded)}f", *padded))
    weights = plain_weights(seed)
    return plain_mix(sum(weights[i % 32] * word for i, word in enumerate(words)) & MASK, num_experts)


def experts_of(router, tokens, **side_inputs):
    return router(tokens, **side_inputs).selected_experts[:, 0]


def imbalance(experts):
    """Coefficient of variation of the eight experts' loads."""
    return float(coefficient_of_variation(tokens_per_expert(experts, 8)))


@pytest.fixture(scope="module")
def words_of_real_text():
    """Ids of the words of Python's own language reference, numbered by first occurrence: 'the' is 5 % of them."""
    words = re.findall(r"[a-z]+", " ".join(pydoc_data.topics.topics.values()).lower())
    number = {}
    return torch.tensor([number.setdefault(word, len(number)) for word in words])


def test_is_one_hot_with_one_expert_whatever_top_k(make_router, random_tokens):
    routing = make_router("hash", top_k=3)(random_tokens(50, 32))
    assert torch.equal(routing.router_probs.sort(dim=1).values, torch.eye(8)[-1].expand(50, 8))
    assert torch.equal(routing.selected_experts, routing.router_probs.argmax(dim=1, keepdim=True))
    assert torch.equal(routing.routing_weights, torch.ones(50, 1))


def test_has_no_parameters(parameter_count):
    assert parameter_count("hash") == 0


def test_golden_experts_are_the_same_on_every_machine(make_router):
    # eighths are exact in float32
    tokens = torch.arange(8 * 6).view(8, 6) / 8
    router, ids = make_router("hash", hidden_size=6), torch.arange(8)
    assert experts_of(router, tokens).tolist() == [0, 1, 3, 5, 1, 1, 6, 2]
    assert experts_of(router, tokens, token_ids=ids).tolist() == [4, 0, 6, 7, 2, 5, 3, 6]
    by_id = [plain_mix((i * GOLDEN + plain_weights(0)[0]) & MASK, 8) for i in range(8)]
    assert by_id == [4, 0, 6, 7, 2, 5, 3, 6]


@pytest.mark.parametrize("hidden_size", [1, 6, 33, 64, 100, 128])
@pytest.mark.parametrize("seed", [0, 7])
def test_equals_the_definition_in_plain_integers(hidden_size, seed, random_tokens):
    router = routers.create_router("hash", hidden_size=hidden_size, num_experts=11, top_k=1, seed=seed)
    tokens = random_tokens(40, hidden_size)
    expected = [plain_expert(token, 11, seed) for token in tokens.tolist()]
    assert experts_of(router, tokens).tolist() == expected


def test_another_seed_is_another_hash(make_router, random_tokens):
    tokens = random_tokens(64, 32)
    one, other = (
        experts_of(routers.create_router("hash", hidden_size=32, num_experts=8, top_k=1, seed=seed), tokens)
        for seed in (1, 2)
    )
    assert not torch.equal(one, other)


def test_any_number_of_threads_gives_the_same_experts(make_router, random_tokens):
    router, tokens = make_router("hash", hidden_size=768), random_tokens(512, 768)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = experts_of(router, tokens)
        torch.set_num_threads(2)
        two = experts_of(router, tokens)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)


def test_a_fresh_process_gives_the_same_experts(make_router):
    tokens = torch.arange(64 * 70).view(64, 70) / 8
    code = (
        "import torch, routers\n"
        "router = routers.create_router('hash', hidden_size=70, num_experts=8, top_k=1)\n"
        "print(router(torch.arange(64 * 70).view(64, 70) / 8).selected_experts[:, 0].tolist())"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(experts_of(make_router("hash", hidden_size=70), tokens).tolist())


@given(st.lists(st.integers(0, 20), max_size=5))
def test_any_split_into_batches_gives_the_same_experts(make_router, random_tokens, cuts):
    router, tokens = make_router("hash", hidden_size=64), random_tokens(20, 64)
    parts = torch.tensor_split(tokens, sorted(cuts))
    assert torch.equal(torch.cat([experts_of(router, part) for part in parts]), experts_of(router, tokens))


def test_the_layout_in_memory_does_not_matter(make_router, random_tokens):
    router, tokens = make_router("hash", hidden_size=64), random_tokens(20, 64)
    expected = experts_of(router, tokens)
    assert torch.equal(experts_of(router, tokens.t().contiguous().t()), expected)
    at_an_odd_offset = torch.cat([torch.zeros(1), tokens.flatten()])[1:].view(20, 64)
    assert torch.equal(experts_of(router, at_an_odd_offset), expected)
    every_other_row = tokens.repeat_interleave(2, dim=0)[::2]
    assert torch.equal(experts_of(router, every_other_row), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_same_values_in_another_dtype_meet_the_same_expert(dtype, make_router, random_tokens):
    router, tokens = make_router("hash"), random_tokens(64, 32).to(torch.bfloat16).half().float()
    values = tokens.to(torch.bfloat16).to(dtype)
    assert torch.equal(experts_of(router, values), experts_of(router, values.float()))


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=130),
    st.integers(0, 129),
    st.floats(width=32, allow_nan=False),
    st.sampled_from([1 << 32, (1 << 32) - 1]),  # the second is as many as the native kernel divides by
)
def test_a_change_in_any_one_value_changes_the_key(values, position, other, num_experts):
    # over 2³² experts a different key is a different expert, but for one case in 4 · 10⁹
    router = routers.create_router("hash", hidden_size=len(values), num_experts=num_experts, top_k=1)
    changed = list(values)
    changed[position % len(values)] = other
    one, two = router.assign(torch.tensor([values, changed])).tolist()
    same_bits = struct.pack(f"<{len(values)}f", *values) == struct.pack(f"<{len(values)}f", *changed)
    assert (one == two) is same_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # of a bfloat16's bits half are 0
@pytest.mark.parametrize("hidden_size", [4, 768])
def test_random_values_are_balanced_better_than_by_a_naive_modulo(dtype, hidden_size, make_router, random_tokens):
    tokens = random_tokens(2048, hidden_size, dtype=dtype)
    hashed = imbalance(experts_of(make_router("hash", hidden_size=hidden_size), tokens))
    # 256 tokens an expert with a standard deviation of 15: 0.058 in the mean, 0.12 is far out
    assert hashed < 0.12
    assert hashed < imbalance(tokens[:, :4].float().sum(dim=1).floor().long() % 8)


@pytest.mark.parametrize("scale", [1.0, 1 / 8, 64.0])
def test_values_on_a_grid_are_balanced(scale, make_router):
    # 2048 tokens that differ in one coordinate alone, by whole steps
    tokens = torch.zeros(2048, 64)
    tokens[:, 5] = scale * torch.arange(2048)
    assert imbalance(experts_of(make_router("hash", hidden_size=64), tokens)) < 0.12


def test_consecutive_ids_are_balanced(make_router):
    ids = torch.arange(2048)
    assert imbalance(experts_of(make_router("hash", hidden_size=1), torch.zeros(2048, 1), token_ids=ids)) < 0.12


def test_real_words_are_balanced_best_by_their_counts(make_router, words_of_real_text):
    ids = words_of_real_text
    counts = torch.bincount(ids)
    assert float(counts.max() / counts.sum()) > 0.03  # a real, steep distribution
    values = torch.zeros(len(ids), 1)
    balanced, hashed = (
        imbalance(experts_of(make_router("hash", hidden_size=1, token_counts=table), values, token_ids=ids))
        for table in (counts, None)
    )
    assert balanced < 0.01
    assert balanced < hashed
    assert balanced < imbalance(ids % 8)


def test_ids_decide_and_the_values_are_not_read(make_router, random_tokens):
    router, ids = make_router("hash"), torch.arange(12).view(3, 4)
    expected = experts_of(router, random_tokens(3, 4, 32, seed=1), token_ids=ids)
    assert torch.equal(experts_of(router, random_tokens(3, 4, 32, seed=2), token_ids=ids), expected)
    assert torch.equal(experts_of(router, torch.full((12, 32), torch.nan), token_ids=ids.flatten().int()), expected)


def test_refuses_ids_that_are_not_one_a_token(make_router):
    with pytest.raises(ValueError, match="token_ids hold 5 ids, expected one for each of the 4 tokens"):
        make_router("hash")(torch.zeros(4, 32), token_ids=torch.arange(5))


def test_balanced_assignment_by_hand():
    # By descending count: id 2 (9) -> expert 0, id 0 (5) -> 1, id 3 (4) -> 1 (5 < 9), id 1 (1) -> 0 (9 = 9, the first)
    assert balanced_assignment(torch.tensor([5, 1, 9, 4]), 2).tolist() == [1, 0, 0, 1]


def test_ids_that_never_occur_are_dealt_out_evenly():
    assert torch.bincount(balanced_assignment(torch.zeros(24, dtype=torch.int64), 8)).tolist() == [3] * 8


def test_the_table_is_saved_with_the_router(make_router):
    router = make_router("hash", token_counts=torch.tensor([5, 1, 9, 4]))
    twin = make_router("hash", token_counts=torch.tensor([1, 1, 1, 1]))
    twin.load_state_dict(router.state_dict())
    assert torch.equal(twin.expert_of_id, router.expert_of_id)
