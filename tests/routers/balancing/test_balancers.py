"""Balancers in a training loop: what a step counts, what it changes, what a checkpoint holds.

Axes: B batch, S sequence, T tokens, D hidden size, E experts, K experts per token.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from routers import Router, create_router
from routers.balancing import (
    Balancer,
    Processes,
    create_balancer,
    get_balancer_class,
    list_balancers,
    quantile_bias,
    register_balancer,
    relu_l1_loss,
    sequence_losses,
    simbal_loss,
    tally,
    updated_bias,
)
from routers.losses import switch_loss

B, S, D, E, K = 2, 8, 12, 8, 2
RULES: dict[str, dict[str, Any]] = {
    "bias": {"selection": "glm4_moe"},
    "quantile": {"selection": "glm4_moe"},
    "relu_l1": {"selection": "relu", "top_k": E},
}
"""What a balancer's routers need; any will do for the others."""


def make_router(name: str = "switch", seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    options = {"top_k": K} | RULES.get(name, {}) | options
    router: Any = create_router("linear", hidden_size=D, num_experts=E, **options)
    with torch.no_grad():
        router.weight.normal_()
    return router


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(B, S, D, generator=torch.Generator().manual_seed(1)) + 0.5


MASK = torch.arange(S).expand(B, S) < torch.tensor([[S], [3]])
"""The second sequence has three tokens."""


def test_the_registry_lists_what_there_is() -> None:
    assert list_balancers() == ["bias", "global_batch", "quantile", "relu_l1", "sequence", "simbal", "switch"]
    with pytest.raises(ValueError, match=r"^unknown balancer 'nonsense'; there are: bias, global_batch, quantile"):
        create_balancer("nonsense", {})
    with pytest.raises(ValueError, match="balancer 'bias' is already registered, as SignBiasBalancer"):
        register_balancer("bias")(Balancer)


def test_the_documentation_has_all_of_them() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "balancing.md").read_text()
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list_balancers()


def test_switch_is_the_loss_of_the_batch(tokens: Tensor) -> None:
    router = make_router()
    routing = router(tokens)
    balancer = create_balancer("switch", {"a": router})
    expected = switch_loss(routing.router_probs, routing.selected_experts, alpha=1.0)
    assert torch.allclose(balancer.loss({"a": routing}), expected)
    alone = router(tokens.flatten(0, 1)[MASK.flatten()])
    masked = switch_loss(alone.router_probs, alone.selected_experts, alpha=1.0)
    assert torch.allclose(balancer.loss({"a": routing}, MASK), masked)
    assert torch.allclose(balancer.loss({"a": replace(routing, mask=MASK.flatten())}), masked)
    # The mean over the routers.
    other = make_router(seed=1)(tokens)
    both = create_balancer("switch", {"a": router, "b": router}).loss({"a": routing, "b": other})
    assert torch.allclose(both, (expected + switch_loss(other.router_probs, other.selected_experts, alpha=1.0)) / 2)


def test_the_last_batch_of_a_step_is_judged_by_the_counts_of_the_step(tokens: Tensor) -> None:
    router = make_router()
    balancer = create_balancer("global_batch", {"a": router})
    first, second = router(tokens[:1]), router(tokens[1:])
    whole = router(tokens).tokens_per_expert / (B * S * K)
    own = switch_loss(first.router_probs, first.selected_experts, alpha=1.0)
    assert torch.allclose(balancer.loss({"a": first}), own)
    assert torch.allclose(balancer.loss({"a": second}), E * (whole * second.router_probs.mean(dim=0)).sum())
    balancer.update()
    assert torch.allclose(balancer.loss({"a": first}), own)


def test_sequences_are_averaged(tokens: Tensor) -> None:
    router = make_router("bias")
    router.selection_bias.copy_(torch.linspace(-3, 3, E))  # equation 18 counts without it
    routing = router(tokens)
    scores = routing.router_scores.view(B, S, E)
    expected = sequence_losses(scores, scores.topk(K).indices, MASK)
    balancer = create_balancer("sequence", {"a": router})
    assert torch.allclose(balancer.loss({"a": routing}, MASK), expected.mean())
    # A sequence of padding alone is none.
    one = MASK & torch.tensor([[True], [False]])
    assert torch.allclose(balancer.loss({"a": routing}, one), expected[0])
    with pytest.raises(ValueError, match=r"mask is not \(B, S\): the sequence-wise loss"):
        balancer.loss({"a": routing})


def test_the_bias_moves_once_a_step_by_the_counts_of_all_its_batches(tokens: Tensor) -> None:
    router = make_router("bias")
    balancer = create_balancer("bias", {"a": router}, rate=0.25)
    counts = router(tokens).tokens_per_expert
    for batch in tokens:
        loss = balancer.loss({"a": router(batch)})
        assert float(loss) == 0
        assert not router.selection_bias.any()
    balancer.update()
    assert torch.equal(router.selection_bias, updated_bias(torch.zeros(E), counts, 0.25))
    before = router.selection_bias.clone()
    balancer.update()  # nothing was counted since
    assert torch.equal(router.selection_bias, before)


def test_the_quantile_is_that_of_all_batches_of_a_step(tokens: Tensor) -> None:
    router = make_router("quantile")
    balancer = create_balancer("quantile", {"a": router}, num_bins=10_000)
    whole = router(tokens)
    for batch, mask in zip(tokens, MASK, strict=True):
        balancer.loss({"a": router(batch)}, mask)
    balancer.update()
    expected = quantile_bias(whole.router_scores, torch.zeros(E), K, MASK.flatten())
    # Of a few tokens the histogram ends at one of them, and the exact quantile a share of the gap to the next further.
    required = (whole.ranked.topk(K + 1).values[:, -1:] - whole.router_scores)[MASK.flatten()].sort(dim=0).values
    assert torch.allclose(router.selection_bias, expected, atol=2 * float(required.detach().diff(dim=0).amax()))
    at_once = make_router("quantile")
    whole_step = create_balancer("quantile", {"a": at_once}, num_bins=10_000)
    whole_step.loss({"a": whole}, MASK)
    whole_step.update()
    assert torch.equal(router.selection_bias, at_once.selection_bias)
    before = router.selection_bias.clone()
    balancer.update()  # nothing was counted since
    assert torch.equal(router.selection_bias, before)


def test_simbal_is_of_the_weights_alone(tokens: Tensor) -> None:
    router = make_router("simbal")
    loss = create_balancer("simbal", {"a": router}).loss({"a": router(tokens)}, MASK)
    assert torch.equal(loss, simbal_loss(router.weight))


def test_the_coefficient_of_the_l1_grows_while_the_router_is_too_dense(tokens: Tensor) -> None:
    router = make_router("relu_l1")
    routing = router(tokens)
    active = routing.router_scores[MASK.flatten()]
    mean = float((active > 0).sum(dim=1).double().mean())
    for aim, expected in ((1, 0.6), (E, 0.5 / 1.2)):
        assert (mean > aim) == (expected > 0.5)
        balancer = create_balancer("relu_l1", {"a": router}, top_k=aim, coefficient=0.5)
        assert torch.allclose(balancer.loss({"a": routing}, MASK), 0.5 * relu_l1_loss(active, aim))
        balancer.update()
        assert balancer.state()["coefficient"].item() == pytest.approx(expected)
        balancer.update()  # nothing was counted since
        assert balancer.state()["coefficient"].item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["switch", "global_batch", "sequence", "simbal", "relu_l1"])
def test_a_loss_has_a_gradient_for_the_router(name: str, tokens: Tensor) -> None:
    router = make_router(name)
    create_balancer(name, {"a": router}).loss({"a": router(tokens)}, MASK).backward()
    assert router.weight.grad.any()


OPTIONS: dict[str, dict[str, Any]] = {"relu_l1": {"top_k": K, "coefficient": 0.5}}


def one_step(balancer: Balancer, call: Callable[[], Any], mask: Tensor | None = None) -> None:
    routing = call()
    (routing.routing_weights.square().sum() + balancer.loss({"a": routing}, mask)).backward()
    balancer.update()


@pytest.mark.parametrize("name", ["bias", "quantile", "relu_l1"])
def test_what_is_recomputed_or_evaluated_does_not_count(name: str, tokens: Tensor) -> None:
    """Activation checkpointing calls the router a second time in the backward pass, evaluation calls it beside."""
    states = []
    for recomputed in (False, True):
        router = make_router(name)
        router.weight.requires_grad_(False)  # an update asks for no gradient
        balancer = create_balancer(name, {"a": router}, **OPTIONS.get(name, {}))
        calls: list[None] = []
        router.register_forward_pre_hook(lambda *_, calls=calls: calls.append(None))
        hidden = tokens.clone().requires_grad_()

        def call(router: nn.Module = router, hidden: Tensor = hidden, recomputed: bool = recomputed) -> Any:
            return checkpoint(router, hidden, use_reentrant=False) if recomputed else router(hidden)

        one_step(balancer, call, MASK)
        with torch.no_grad():
            router.eval()(tokens)
        balancer.update()
        assert len(calls) == 2 + recomputed
        states.append(balancer.state())
    assert states[0]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["bias", "quantile", "relu_l1", "global_batch"])
def test_frozen_routers_stay_as_they_are_and_the_step_ends(name: str, tokens: Tensor) -> None:
    router = make_router(name)
    balancer = create_balancer(name, {"a": router}, **OPTIONS.get(name, {}))
    before = copy.deepcopy(balancer.state())
    first = balancer.loss({"a": router(tokens[:1])}, MASK[:1])
    balancer.update(frozen=True)
    assert torch.equal(balancer.loss({"a": router(tokens[:1])}, MASK[:1]), first)
    balancer.update(frozen=True)
    balancer.update()
    assert all(torch.equal(balancer.state()[key], before[key]) for key in before)


@pytest.mark.parametrize("name", ["bias", "quantile", "relu_l1"])
def test_a_state_that_is_loaded_goes_on_as_though_nothing_had_happened(name: str, tokens: Tensor) -> None:
    router = make_router(name)
    balancer = create_balancer(name, {"a": router}, **OPTIONS.get(name, {}))
    one_step(balancer, lambda: router(tokens))
    saved = copy.deepcopy(balancer.state())
    one_step(balancer, lambda: router(tokens))
    assert any(not torch.equal(balancer.state()[key], saved[key]) for key in saved)
    fresh = make_router(name)
    resumed = create_balancer(name, {"a": fresh}, **OPTIONS.get(name, {}))
    for key, tensor in resumed.state().items():
        tensor.copy_(saved[key])
    one_step(resumed, lambda: fresh(tokens))
    assert all(torch.equal(resumed.state()[key], balancer.state()[key]) for key in saved)


@pytest.mark.parametrize("name", ["switch", "global_batch", "sequence", "simbal", "relu_l1", "bias", "quantile"])
def test_the_processes_together_are_one(name: str, tokens: Tensor) -> None:
    """The mean of their losses and gradients, and what each is left with, are those of all tokens together."""
    options = OPTIONS.get(name, {})
    router = make_router(name)
    alone = create_balancer(name, {"a": router}, **options)
    expected = alone.loss({"a": router(tokens)}, MASK)
    if expected.requires_grad:
        expected.backward()
    alone.update()

    def together(total: Callable[[Tensor], Tensor]) -> list[tuple[Tensor, Tensor, Any]]:
        found = []
        for rank in range(B):
            copied = make_router(name)
            balancer = create_balancer(name, {"a": copied}, processes=Processes(lambda: B, total), **options)
            loss = balancer.loss({"a": copied(tokens[rank : rank + 1])}, MASK[rank : rank + 1])
            gradient = torch.autograd.grad(loss, copied.weight)[0] if loss.requires_grad else torch.zeros(())
            balancer.update()
            found.append((loss.detach(), gradient, balancer.state()))
        return found

    sent: list[Tensor] = []

    def note(values: Tensor) -> Tensor:
        sent.append(values.clone())
        return values

    together(note)
    each = len(sent) // B
    sums = [sent[place] + sent[each + place] for place in range(each)]
    turns = iter(sums * B)
    ranks = together(lambda _: next(turns).clone())
    assert torch.allclose(torch.stack([loss for loss, _, _ in ranks]).mean(), expected.detach())
    if router.weight.grad is not None:
        assert torch.allclose(torch.stack([grad for _, grad, _ in ranks]).mean(dim=0), router.weight.grad, atol=1e-6)
    for _, _, state in ranks:
        assert all(torch.equal(state[key], alone.state()[key]) for key in alone.state())


def in_a_process(rank: int, folder: Path, tokens: Tensor) -> None:
    """One of two that train together over gloo; leaves what it found in the folder."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=B)
    found: dict[str, Any] = {}
    for name in list_balancers():
        router = make_router(name)
        balancer = create_balancer(name, {"a": router}, **OPTIONS.get(name, {}))
        loss = balancer.loss({"a": router(tokens[rank : rank + 1])}, MASK[rank : rank + 1])
        balancer.update()
        found[name] = loss.detach(), balancer.state()
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_over_gloo_are_one(tokens: Tensor, tmp_path: Path) -> None:
    forks = [
        multiprocessing.get_context("fork").Process(target=in_a_process, args=(rank, tmp_path, tokens))
        for rank in range(B)
    ]
    for fork in forks:
        fork.start()
    for fork in forks:
        fork.join(60)
    assert [fork.exitcode for fork in forks] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(B)]
    for name in list_balancers():
        router = make_router(name)
        alone = create_balancer(name, {"a": router}, **OPTIONS.get(name, {}))
        expected = alone.loss({"a": router(tokens)}, MASK).detach()
        alone.update()
        assert torch.allclose(torch.stack([each[name][0] for each in found]).mean(), expected)
        for each in found:
            assert all(torch.equal(each[name][1][key], value) for key, value in alone.state().items())


def test_a_router_under_two_names_is_updated_once(tokens: Tensor) -> None:
    router = make_router("bias")
    balancer = create_balancer("bias", {"a": router, "b": router}, rate=0.25)
    counts = router(tokens).tokens_per_expert
    balancer.loss({"a": router(tokens[:1]), "b": router(tokens[1:])})
    balancer.update()
    assert torch.equal(router.selection_bias, updated_bias(torch.zeros(E), counts, 0.25))
    assert list(balancer.state()) == ["a.selection_bias"]


class Nothing:
    """No routing that chooses experts for tokens."""


@pytest.mark.parametrize(
    ("name", "router", "options", "line"),
    [
        ("bias", {}, {}, r"router 'a' \(LinearRouter\) has no selection_bias to balance by; select by a rule with a"),
        ("bias", RULES["bias"], {"rate": 0.0}, "rate is 0.0, expected above 0"),
        ("bias", RULES["bias"], {"rate": float("inf")}, "rate is inf, expected above 0 and finite"),
        ("quantile", RULES["bias"], {"num_bins": 0}, "num_bins is 0, expected at least 1"),
        (
            "quantile",
            {"selection": "deepseek_v3", "num_groups": 4, "groups_kept": 2},
            {},
            "router 'a' selects within 4 groups, expected none",
        ),
        (
            "relu_l1",
            {},
            {},
            r"router 'a' \(LinearRouter\) has scores that are never 0 \(softmax\), which the L1 cannot",
        ),
        ("relu_l1", RULES["relu_l1"], {"coefficient": 0.0}, "coefficient is 0.0, expected above 0 and finite"),
        ("relu_l1", RULES["relu_l1"], {"multiplier": 1.0}, "multiplier is 1.0, expected above 1 and finite"),
        ("relu_l1", RULES["relu_l1"], {"top_k": 0}, "top_k of router 'a' is 0, expected at least 1"),
        ("relu_l1", {"selection": "relu"}, {}, "router 'a' has 2 slots for 8 experts, expected one for each"),
    ],
)
def test_what_cannot_be_balanced_is_refused(name: str, router: Any, options: Any, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}"):
        create_balancer(name, {"a": make_router(**router)}, **options)


@pytest.mark.parametrize("name", list_balancers())
def test_a_routing_of_a_router_that_is_not_balanced_is_refused(name: str, tokens: Tensor) -> None:
    router = make_router(name)
    with pytest.raises(ValueError, match=r"^routings are of 'b', expected those of: a$"):
        create_balancer(name, {"a": router}).loss({"b": router(tokens)}, MASK)


def test_what_padding_holds_is_in_no_sequences_loss() -> None:
    scores = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [float("nan")] * 2]])
    experts, mask = torch.tensor([[[0], [1], [0]]]), torch.tensor([[True, True, False]])
    # f = 2/2 · (1, 1), P = (0.55, 0.45): their product sums to 1
    assert float(sequence_losses(scores, experts, mask)) == pytest.approx(1.0)


def test_simbal_wants_a_linear_router() -> None:
    router = create_router("mlp", hidden_size=D, num_experts=E, top_k=K)
    with pytest.raises(ValueError, match=r"^router 'a' \(MLPRouter\) has no weight \(E, D\), which SimBal"):
        create_balancer("simbal", {"a": router})


def test_a_batch_that_cannot_be_counted_is_refused(tokens: Tensor) -> None:
    router: Router = make_router()
    balancer = create_balancer("switch", {"a": router})
    with pytest.raises(ValueError, match=r"^mask is of 5 tokens, expected the 16 of router 'a'"):
        balancer.loss({"a": router(tokens)}, torch.ones(5))
    with pytest.raises(ValueError, match=r"^routings are empty"):
        balancer.loss({})
    with pytest.raises(TypeError, match=r"^router 'a' gives a Nothing; balancing needs one that chooses experts"):
        balancer.loss({"a": Nothing()})  # type: ignore[dict-item]


def test_scores_beyond_one_are_refused(tokens: Tensor) -> None:
    router = make_router(selection="kolibri1")
    with pytest.raises(ValueError, match=r"^router 'a' ranks scores of -?\d.*, expected 0 to 1"):
        create_balancer("quantile", {"a": router}).loss({"a": router(tokens)})


def test_slots_that_are_not_kept_do_not_count(tokens: Tensor) -> None:
    routing = make_router(selection="top_p", limit=0.3)(tokens)
    (counted,) = tally([("a", routing)], None, Processes())
    assert torch.equal(counted.tokens_per_expert, routing.tokens_per_expert)
    assert int(counted.tokens_per_expert.sum()) < B * S * K


def test_what_a_class_says_of_itself() -> None:
    classes = {name: get_balancer_class(name) for name in list_balancers()}
    assert [name for name, each in classes.items() if each.weighs_itself] == ["relu_l1"]
    assert [name for name, each in classes.items() if each.rule_fields] == ["bias", "quantile", "relu_l1"]
    # With those fields, and slots for all experts where it says so, any rule becomes one that it can balance.
    for name, each in classes.items():
        router = make_router(top_k=E if each.slots_for_all else K, **each.rule_fields)
        create_balancer(name, {"a": router})
