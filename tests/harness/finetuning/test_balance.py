"""The load-balancing loss and its gradient, for one process and as the sum over several."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from harness.finetuning import balance
from harness.finetuning.balance import LoadBalance
from harness.replacement.injection import replace_routers
from harness.replacement.moe_blocks import find_moe_blocks
from routers.balancing import get_balancer_class, simbal_loss
from routers.losses import switch_loss
from routers.metrics import coefficient_of_variation, max_violation, tokens_per_expert
from tests.harness.tiny_models import tiny_config

EXPERTS, TOP_K, HIDDEN = 4, 2, 6


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(EXPERTS, HIDDEN))

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = hidden_states @ self.weight.T
        top = logits.softmax(-1).topk(TOP_K)
        return logits, top.values, top.indices


@pytest.fixture
def gates() -> dict[str, Gate]:
    torch.manual_seed(0)
    return {"first": Gate(), "second": Gate()}


def listen(watch: LoadBalance, gates: dict[str, Gate], tokens: torch.Tensor, mask: torch.Tensor | None = None) -> None:
    with watch.listening(mask):
        for gate in gates.values():
            gate(tokens)


def test_it_is_the_mean_of_the_gates_switch_losses(gates: dict[str, Gate]) -> None:
    tokens, watch = torch.randn(50, HIDDEN), LoadBalance(gates)
    listen(watch, gates, tokens)
    each = []
    for gate in gates.values():
        logits, _, experts = gate(tokens)
        each.append(switch_loss(logits.softmax(-1), experts, alpha=1.0))
    assert torch.allclose(watch.loss(), torch.stack(each).mean())


def test_padding_does_not_count(gates: dict[str, Gate]) -> None:
    tokens, watch = torch.randn(2, 5, HIDDEN), LoadBalance(gates)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    listen(watch, gates, tokens.flatten(0, 1), mask)
    masked = watch.loss()
    listen(watch, gates, torch.cat([tokens[0], tokens[1, :2]]))
    # A product of ten rows may be summed in another order than one of seven.
    torch.testing.assert_close(masked, watch.loss())


def test_it_hears_nothing_outside(gates: dict[str, Gate]) -> None:
    watch = LoadBalance(gates)
    listen(watch, gates, torch.randn(5, HIDDEN))
    first = watch.loss()
    gates["first"](torch.randn(7, HIDDEN))
    assert torch.equal(first, watch.loss())
    assert not gates["first"]._forward_hooks
    with pytest.raises(ValueError, match="no gate was heard"):
        LoadBalance(gates).loss()


def test_at_balance_it_is_one() -> None:
    gate = Gate()
    with torch.no_grad():
        gate.weight.copy_(torch.eye(EXPERTS, HIDDEN) * 5)  # sure of itself: P is far from uniform for every token
    watch = LoadBalance({"gate": gate})
    # Token t prefers experts t and t + 1, all alike otherwise.
    tokens = torch.zeros(EXPERTS, HIDDEN)
    for token in range(EXPERTS):
        tokens[token, [token, (token + 1) % EXPERTS]] = 1
    listen(watch, {"gate": gate}, tokens)
    assert watch.loss().item() == pytest.approx(1.0, abs=1e-5)
    assert watch.take_statistics() == {"max_violation": 0.0, "load_cv": 0.0}
    listen(watch, {"gate": gate}, tokens[:1])
    assert watch.loss().item() == pytest.approx(EXPERTS / TOP_K, abs=0.1)  # two experts take all


def test_statistics_are_those_of_all_tokens_since_the_last_call(gates: dict[str, Gate]) -> None:
    watch, batches = LoadBalance(gates), [torch.randn(9, HIDDEN), torch.randn(4, HIDDEN)]
    for batch in batches:
        listen(watch, gates, batch)
        watch.loss()
    counts = [tokens_per_expert(gate(torch.cat(batches))[2], EXPERTS) for gate in gates.values()]
    expected = torch.stack([max_violation(count) for count in counts]).mean()
    spread = torch.stack([coefficient_of_variation(count) for count in counts]).mean()
    assert watch.take_statistics() == {"max_violation": pytest.approx(expected), "load_cv": pytest.approx(spread)}
    listen(watch, gates, batches[0])
    watch.loss()
    assert watch.take_statistics() != {"max_violation": pytest.approx(expected), "load_cv": pytest.approx(spread)}


def test_the_mean_over_processes_is_the_loss_of_their_tokens_together(
    gates: dict[str, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In value and in gradient, for processes with different numbers of tokens."""
    parts = [torch.randn(9, HIDDEN), torch.randn(4, HIDDEN)]
    listen(whole := LoadBalance(gates), gates, torch.cat(parts))
    expected = whole.loss()
    expected.backward()
    gradient = gates["first"].weight.grad
    assert gradient is not None

    sent: list[torch.Tensor] = []
    monkeypatch.setattr(balance, "process_count", lambda: 2)
    monkeypatch.setattr(balance, "all_reduce_sum", lambda values: sent.append(values) or values)
    for part in parts:
        listen(watch := LoadBalance(gates), gates, part)
        watch.loss()
    monkeypatch.setattr(balance, "all_reduce_sum", lambda values: sent[0] + sent[1])
    losses, gradients = [], []
    for part in parts:
        gates["first"].weight.grad = None
        listen(watch := LoadBalance(gates), gates, part)
        losses.append(watch.loss())
        losses[-1].backward()
        gradients.append(gates["first"].weight.grad)
    assert torch.allclose(torch.stack(losses).mean(), expected)
    assert torch.allclose((gradients[0] + gradients[1]) / 2, gradient)


def test_gradients_are_the_same_with_activation_checkpointing() -> None:
    """What is heard inside a checkpointed layer is computed with outside of it."""
    model = AutoModelForCausalLM.from_config(tiny_config()).train()
    gates = {block.name: block.gate for block in find_moe_blocks(model)}
    ids = torch.tensor([[5, 9, 3, 7], [4, 4, 6, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        watch = LoadBalance(gates)
        with watch.listening(mask):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss
        (loss + watch.loss()).backward()
        return [gate.weight.grad.clone() for gate in gates.values()]

    plain = gradients()
    model.activation_checkpointing_enable()
    assert all(torch.equal(a, b) for a, b in zip(gradients(), plain, strict=True))
    # That form loses them.
    model.activation_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    with pytest.raises(ValueError, match="use use_reentrant=False"):
        gradients()


def test_another_loss_is_trained_with_and_the_first_is_shown(gates: dict[str, Gate]) -> None:
    tokens, mask = torch.randn(2, 5, HIDDEN), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    listen(default := LoadBalance(gates), gates, tokens.flatten(0, 1), mask)
    expected = default.loss()
    assert torch.equal(default.switch_loss, expected)
    for name in ("global_batch", "sequence", "simbal"):
        listen(watch := LoadBalance(gates, name), gates, tokens.flatten(0, 1), mask)
        assert watch.loss().requires_grad
        assert torch.equal(watch.switch_loss, expected)
    assert torch.allclose(watch.loss(), torch.stack([simbal_loss(gate.weight) for gate in gates.values()]).mean())


@pytest.mark.parametrize(("family", "changes"), [("qwen2_moe", {}), ("deepseek_v3", {"n_group": 1, "topk_group": 1})])
@pytest.mark.parametrize("name", ["bias", "quantile", "relu_l1"])
def test_a_step_changes_replaced_routers_once(name: str, family: str, changes: dict[str, int]) -> None:
    """Whatever is recomputed under activation checkpointing or evaluated beside; not at all where they are frozen."""
    ids = torch.tensor([[5, 9, 3, 7], [4, 4, 6, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    found = {}
    for kind in ("plain", "recomputed", "reentrant", "frozen"):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(family, **changes)).train()
        slots, fields = get_balancer_class(name).slots_for_all, get_balancer_class(name).rule_fields
        replace_routers(model, "linear", top_k=EXPERTS if slots else None, **fields)
        gates = {block.name: block.gate for block in find_moe_blocks(model)}
        watch = LoadBalance(gates, name, frozen=kind == "frozen", **({"top_k": 1} if slots else {}))
        if kind in ("recomputed", "reentrant"):
            model.activation_checkpointing_enable({"use_reentrant": kind == "reentrant"})
            model.enable_input_require_grads()
        before = {key: value.clone() for key, value in watch.balancer.state().items()}
        with watch.listening(mask):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss
        (loss + watch.loss().detach()).backward()
        with torch.no_grad():
            model.eval()(input_ids=ids, use_cache=False)
        watch.update()
        found[kind] = watch.balancer.state()
        moved = any(not torch.equal(before[key], value) for key, value in found[kind].items())
        assert moved == (kind != "frozen")
    for key, value in found["plain"].items():
        assert torch.equal(found["recomputed"][key], value)
        assert torch.equal(found["reentrant"][key], value)


def test_the_models_own_bias_is_what_a_replaced_router_goes_on_from() -> None:
    model = AutoModelForCausalLM.from_config(
        tiny_config("deepseek_v3")
    ).train()  # with groups, which the sign leaves be
    own = {
        block.name: block.gate.e_score_correction_bias.uniform_(-0.3, 0.3).clone() for block in find_moe_blocks(model)
    }
    replace_routers(model, "linear", **get_balancer_class("bias").rule_fields)
    gates = {block.name: block.gate for block in find_moe_blocks(model)}
    watch = LoadBalance(gates, "bias")
    with watch.listening(None):
        model(input_ids=torch.tensor([[5, 9, 3, 7], [4, 4, 6, 0]]), use_cache=False)
    watch.loss()
    watch.update()
    for name, gate in gates.items():
        assert gate.router.selection.num_groups == 2
        steps = (gate.router.selection_bias - own[name]) / 1e-3
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert set(steps.round().tolist()) <= {-1.0, 0.0, 1.0}
        assert steps.round().any()
