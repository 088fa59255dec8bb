"""Routers in a tiny model of every Mixture-of-Experts family of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
import transformers

from harness.finetuning.balance import LoadBalance
from harness.replacement import distillation
from harness.replacement.families import FAMILIES, REFUSED
from harness.replacement.gate_forms import Decision
from harness.replacement.gate_hooks import hear_gates
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import MoEBlock, find_moe_blocks
from routers import list_routers
from routers.metrics import max_violation
from tests.harness import families_table
from tests.harness.tiny_families import (
    EXPERTS,
    HIDDEN,
    IDS,
    TOP_K,
    families_of_transformers,
    output_of,
    tiny_family,
)

ONE_EXPERT = {"llama4": TOP_K, "switch_transformers": 1, "zaya": 1}
NOT_LINEAR = {"zaya"}
WEIGHED_OTHERWISE = {"dbrx", "inkling", "phimoe"}
"""What the rule weighs is divided by its sum in dbrx's block, by that and the shared experts' in inkling's gate, and
weighed among near rivals in phimoe's."""
PAGE = families_table.PAGE.read_text(encoding="utf-8").splitlines()
OTHERS = sorted(set(list_routers(every=True, token_choice=True)) - {"linear", "mlp"})


@pytest.fixture(scope="module", params=sorted(set(FAMILIES) & set(families_of_transformers())))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def own(family: str) -> Any:
    """The model of a family, which every test leaves as it was."""
    transformers.logging.set_verbosity_error()
    return tiny_family(family)


@pytest.fixture(scope="module")
def expected(own: Any) -> torch.Tensor:
    with torch.no_grad():
        return output_of(own)


@pytest.fixture
def model(own: Any, expected: torch.Tensor) -> Iterator[Any]:
    """It is bit for bit what it was after each test: replaced routers are restored."""
    state = {name: value.clone() for name, value in own.state_dict().items()}
    yield own
    own.zero_grad(set_to_none=True)
    after = own.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], value) for name, value in state.items())
    with torch.no_grad():
        assert torch.equal(output_of(own), expected)


def reached(path: str) -> bool:
    """Text does not reach experts for images."""
    return "vision" not in path


def bias_of(blocks: list[MoEBlock]) -> dict[str, Any]:
    """The linear router's option, where the gates have a bias."""
    return {"bias": True} if blocks[0].family.form.linear_map(blocks[0].gate)[1] is not None else {}


def test_all_families_are_known_or_refused() -> None:
    unknown = set(families_of_transformers()) - set(FAMILIES) - set(REFUSED)
    assert not unknown, f"transformers {transformers.__version__} has families that FAMILIES does not know: {unknown}"


def test_a_block_says_its_sizes(model: Any, family: str) -> None:
    blocks = find_moe_blocks(model)
    assert blocks
    experts = EXPERTS + {"longcat_flash": 2, "zaya": 1}.get(family, 0)
    top_k = ONE_EXPERT.get(family, TOP_K)
    for block in blocks:
        assert (block.hidden_size, block.num_experts, block.top_k) == (HIDDEN, experts, top_k)
        assert block.layer in (0, 1)


def test_a_linear_router_with_the_original_weights_is_the_original(
    model: Any, family: str, expected: torch.Tensor
) -> None:
    options = bias_of(find_moe_blocks(model))
    if family in NOT_LINEAR:
        with pytest.raises(ValueError, match="is no linear map that could be copied"):
            replace_routers(model, "linear", initialise="original", **options)
        return
    with replace_routers(model, "linear", initialise="original", **options) as replacement, torch.no_grad():
        torch.testing.assert_close(output_of(model), expected, atol=1e-5, rtol=0)
        assert "selects by" not in replacement.report()
        torch.manual_seed(0)
        for each in replacement.replaced:
            each.router.weight.normal_()  # type: ignore[operator]
        assert (output_of(model) - expected).abs().max() > 1e-4 * expected.abs().max()


def test_the_rule_that_is_read_is_what_the_gate_does(model: Any, family: str) -> None:
    blocks = {block.name: block for block in find_moe_blocks(model)}
    heard: dict[str, Decision] = {}
    gates = {name: block.gate for name, block in blocks.items()}
    with hear_gates(gates, lambda name, _, decision: heard.update({name: decision})), torch.no_grad():
        output_of(model)
    for name, (logits, weights, experts) in heard.items():
        block = blocks[name]
        made = block.rule.select(logits, block.top_k, block.selection_bias(), block.expert_scale())
        dense = torch.zeros(logits.shape)
        selected = dense.scatter(1, made.selected_experts, 1.0)
        if family not in NOT_LINEAR:  # zaya says 0 for no expert
            assert torch.equal(selected, dense.scatter(1, experts, 1.0))
        if family not in WEIGHED_OTHERWISE:
            torch.testing.assert_close(
                weights.float().sort().values, made.routing_weights.float().sort().values, atol=1e-5, rtol=0
            )


def test_backward_and_generation(model: Any, family: str) -> None:
    index = sorted(FAMILIES).index(family)
    other = OTHERS[index % len(OTHERS)]
    if (family, other) == ("switch_transformers", "hadamard_unconstrained"):
        other = "hybrid"  # that one selects all experts, and this block takes one
    for name in ("linear", "mlp", other):
        with replace_routers(model, name) as replacement:
            routers = [router for path, router in replacement.routers.items() if reached(path)]
            trained = [p for router in routers for p in router.parameters() if p.requires_grad]
            output = output_of(model)
            output.square().mean().backward()
            assert output.isfinite().all()
            assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
            generate(model, compare=name == "linear")


@torch.no_grad()
def generate(model: Any, *, compare: bool) -> None:
    if not model.can_generate():
        return
    options = {"max_new_tokens": 2, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    cached = model.generate(IDS, attention_mask=torch.ones_like(IDS), use_cache=True, **options)
    if compare:
        plain = model.generate(IDS, attention_mask=torch.ones_like(IDS), use_cache=False, **options)
        assert torch.equal(cached, plain)


def test_a_distilled_router_ranks_as_the_original(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "Amount", partial(distillation.Amount, 60, 64, 3e-2))
    lines = list(torch.randint(3, 61, (8, 12), generator=torch.Generator().manual_seed(0)))
    options = bias_of(find_moe_blocks(model))
    with replace_routers(model, "linear", initialise="distilled", calibration=lines, **options) as replacement:
        assert list(replacement.fits) == [name for name in replacement.routers if reached(name)]
        assert all(fit.agreement[1] >= max(0.8, fit.agreement[0]) for fit in replacement.fits.values())
        unfitted = [line for line in replacement.report().splitlines() if "not fitted" in line]
        assert len(unfitted) == len(replacement.routers) - len(replacement.fits)


def test_the_load_is_of_what_is_selected(model: Any, family: str) -> None:
    with replace_routers(model, "linear") as replacement:
        gates = {each.block.name: each.gate for each in replacement.replaced}
        counts: dict[str, torch.Tensor] = {}
        for name, gate in gates.items():
            gate.router.register_forward_hook(lambda *call, name=name: counts.update({name: call[2].tokens_per_expert}))
        watch = LoadBalance(gates)
        with watch.listening(None):
            output_of(model)
        watch.loss().backward()
        wanted = torch.stack([max_violation(count) for count in counts.values()]).mean()
        assert watch.take_statistics()["max_violation"] == pytest.approx(float(wanted))


def test_router_logits_are_recorded_as_before(model: Any) -> None:
    before = recorded(model)
    with replace_routers(model, "linear"):
        assert recorded(model) == before


@torch.no_grad()
def recorded(model: Any) -> list[torch.Size]:
    decoder = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    found = model(IDS, output_router_logits=True, **decoder)
    return [logits.shape for logits in found.get("router_logits") or ()]


def test_the_page_says_what_is_so(model: Any, family: str) -> None:
    assert families_table.row(family, model) in PAGE


def test_the_page_has_a_line_for_each_family() -> None:
    lines = PAGE[PAGE.index(families_table.HEAD[1]) + 1 : PAGE.index("<!-- end of the table -->")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == sorted({*FAMILIES, *REFUSED})
    assert all(families_table.row(family, None) in PAGE for family in REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_family_says_why(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^\S+ \(\S+\): its gates cannot be replaced: {re.escape(REFUSED[name])}$"):
        find_moe_blocks(tiny_family(name))
