"""Every option that is accepted has an effect in every place where it is accepted, or is refused there."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from harness.replacement.injection import replace_routers
from routers import MoELayer, Router, get_router_class, list_routers
from tests.harness.tiny_models import EXPERTS, HIDDEN, TOP_K, tiny_model

CHANGES: dict[str, Any] = {
    "top_k": 3,
    "norm_topk_prob": False,
    "selection": "minimax_m2",
    "straight_through": True,
    "check_finite": True,
    "bias": True,
    "query_size": 5,
    "temperature": 0.1,
    "backend": "sdpa",
    "width": 5,
    "feature_size": 5,
    "constrained": False,
    "boost": (0.5, 3.0),
    "seed": 1,
    "token_counts": torch.arange(61),
}
"""Option -> another value than the default; an option that is not here fails, so that a new one is thought of."""

BY_DEFINITION = {
    ("hash", "top_k"): "a hash names one expert",
    ("hash", "norm_topk_prob"): "its weight is 1",
    ("hash", "straight_through"): "the other experts have probability 0",
    ("hadamard_unconstrained", "top_k"): "selects all experts",
    ("hadamard_unconstrained", "straight_through"): "all experts learn as it is",
    ("hadamard_unconstrained", "norm_topk_prob"): "the probabilities of all experts sum to one",
    ("self_supervised", "norm_topk_prob"): "its probabilities are those of the K largest",
    ("self_supervised", "straight_through"): "the other experts have probability 0",
}
"""What changes nothing because the router's own definition says so."""

REFUSED_EVERYWHERE = {("hash", "selection"): "HashRouter selects by itself"}
REFUSED_IN_A_MODEL = {"straight_through", "token_counts"}
SIZES = {"self", "hidden_size", "num_experts"}


def options_of(name: str) -> list[str]:
    """The keywords of a router's class and of those that it derives from."""
    found = set()
    for each in get_router_class(name).__mro__:
        if issubclass(each, Router):
            parameters = inspect.signature(each.__init__).parameters.values()
            found |= {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    # This one's name says it.
    return sorted(found - SIZES - ({"constrained"} if name == "hadamard_unconstrained" else set()))


def in_a_layer(name: str, options: Mapping[str, Any]) -> list[Any]:
    sizes = {"hidden_size": HIDDEN, "num_experts": EXPERTS}
    layer = MoELayer(intermediate_size=8, router=name, **(sizes | {"top_k": TOP_K} | options))
    tokens = torch.randn(9, HIDDEN, generator=torch.Generator().manual_seed(1))
    side_inputs = {"token_ids": torch.arange(9)} if name == "hash" else {}
    output, routing = layer.forward_with_routing(tokens, **side_inputs)
    output.sum().backward()
    gradients = [parameter.grad for parameter in layer.experts.parameters()]
    return [output, *gradients, *described(layer.router, layer.router.forward, routing.router_probs)]


def in_a_model(name: str, options: Mapping[str, Any]) -> list[Any]:
    gate = replace_routers(tiny_model("mixtral"), name, **options).replaced[0].gate
    tokens = torch.randn(9, HIDDEN, generator=torch.Generator().manual_seed(1))
    return [*gate(tokens), *described(gate.router, gate, gate.top_k)]


def described(router: Router, forward: Callable[[torch.Tensor], Any], *more: Any) -> list[Any]:
    try:
        forward(torch.full((1, HIDDEN), torch.nan))
        refuses = False
    except ValueError:
        refuses = True
    return [*router.state_dict().items(), getattr(router, "backend", None), refuses, *more]


def equal(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(map(equal_values, first, second))


def equal_values(first: Any, second: Any) -> bool:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return first[0] == second[0] and equal_values(first[1], second[1])
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.shape == second.shape and torch.allclose(first, second, equal_nan=True)
    return type(first) is type(second) and first == second


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in list_routers() for option in options_of(name)])
@pytest.mark.parametrize("place", [in_a_layer, in_a_model])
def test_an_option_changes_something_or_is_refused(
    place: Callable[[str, Mapping[str, Any]], list[Any]], name: str, option: str
) -> None:
    def made(options: Mapping[str, Any]) -> list[Any]:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no Hadamard matrix of order")
            return place(name, options)

    plain, change = made({}), {option: CHANGES[option]}
    assert equal(made({}), plain)
    if (name, option) in REFUSED_EVERYWHERE:
        with pytest.raises(ValueError, match=REFUSED_EVERYWHERE[name, option]):
            made(change)
    elif place is in_a_model and option in REFUSED_IN_A_MODEL:
        with pytest.raises(ValueError, match=f"^{name}: {option} would have no effect in a language model's block"):
            made(change)
    else:
        assert equal(made(change), plain) == ((name, option) in BY_DEFINITION)


@pytest.fixture(scope="module")
def deepseek() -> Any:
    return tiny_model("deepseek_v3")


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("linear", {"num_groups": 1, "groups_kept": 2}, "groups_kept is 2, expected at most num_groups = 1"),
        ("linear", {"groups_kept": 64}, "groups_kept is 64, expected at most num_groups"),
        ("expert_choice", {}, "a block of a language model needs a router that chooses experts for each token"),
        ("soft", {}, "a block of a language model needs a router that chooses experts for each token"),
        ("token_hash", {"vocab_size": 61}, "vocab_size would have no effect in a language model's block"),
        ("token_hash", {"seed": 1}, "seed would have no effect in a language model's block"),
    ],
)
def test_what_a_block_cannot_have_is_refused_before_anything_is_changed(
    deepseek: Any, name: str, options: dict[str, Any], named: str
) -> None:
    before = [type(module) for module in deepseek.modules()]
    with pytest.raises(ValueError, match=named):
        replace_routers(deepseek, name, **options)
    assert [type(module) for module in deepseek.modules()] == before


def test_a_field_that_contradicts_the_blocks_rule_does_not_make_it_a_softmax() -> None:
    model = tiny_model("deepseek_v3", n_group=4, topk_group=2)
    with pytest.raises(ValueError, match="groups_kept is 2, expected at most num_groups = 1"):
        replace_routers(model, "linear", num_groups=1)
