"""The layer as one graph: torch.compile and torch.export. Axes: T tokens, D hidden size, E experts."""

import pytest
import torch

from routers import MoELayer

T, D, E = 16, 16, 8
MASK = torch.arange(T) % 4 > 0


pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture
def make_layer(make_router):
    def make(name="linear", *, capacity_factor=None, shared=None, experts="swiglu", **options):
        router = make_router(name, hidden_size=D, num_experts=E, spread=0.3, **options)
        torch.manual_seed(1)
        shared_options = {"shared_intermediate_size": shared, "shared_gate": shared is not None}
        return MoELayer(D, 8, E, router, experts=experts, capacity_factor=capacity_factor, **shared_options)

    return make


CASES = {
    "plain": ({"experts": "gelu"}, {}),
    "everything": ({"capacity_factor": 0.75, "shared": 8}, {"mask": MASK}),
    "straight_through": ({"straight_through": True, "capacity_factor": 0.75}, {"mask": MASK}),
    "probabilities": ({"name": "hybrid", "capacity_factor": 0.75}, {}),
    "hash": ({"name": "hash"}, {"mask": MASK}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_layer_is_one_graph_of_the_same_values_and_gradients(case, make_layer, random_tokens):
    options, inputs = CASES[case]
    layer, tokens, upstream = make_layer(**options), random_tokens(T, D), random_tokens(T, D, seed=1)
    parameters = list(layer.parameters())
    # The backward is traced as well in one of them, which takes longest.
    backend = "aot_eager" if case == "everything" else "eager"
    compiled = torch.compile(layer, fullgraph=True, backend=backend, dynamic=False)
    results = []
    for call in (layer, compiled):
        output = call(tokens, **inputs)
        results.append([output, *torch.autograd.grad((output * upstream).sum(), parameters)])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("name", ["noisy_top_k", "switch", "sinkhorn"])
def test_what_a_router_does_while_it_trains_is_in_the_graph(name, make_layer, random_tokens):
    layer, tokens = make_layer(name).train(), random_tokens(T, D)
    results = []
    for call in (layer, torch.compile(layer, fullgraph=True, backend="eager", dynamic=False)):
        torch.manual_seed(0)
        results.append(call(tokens, mask=MASK))
    torch.testing.assert_close(*results)
    assert not torch.equal(results[0], layer.eval()(tokens, mask=MASK)) or name == "switch"


def test_a_graph_of_dynamic_shapes_takes_batches_of_any(make_layer, random_tokens):
    layer = make_layer(capacity_factor=0.75)
    compiled = torch.compile(layer, fullgraph=True, backend="eager", dynamic=True)
    for shape in ((2, 8), (3, 5)):
        tokens, mask = random_tokens(*shape, D), torch.arange(shape[1]).expand(shape) < 4
        torch.testing.assert_close(compiled(tokens, mask=mask), layer(tokens, mask=mask))


def test_padding_that_is_not_finite_stays_in_its_place_in_a_graph(make_layer, random_tokens):
    layer = make_layer(capacity_factor=0.75)
    tokens = random_tokens(T, D)
    spoilt = tokens.masked_fill(~MASK.unsqueeze(1), torch.nan)
    compiled = torch.compile(layer, fullgraph=True, backend="eager", dynamic=False)
    output = compiled(spoilt, mask=MASK)
    torch.testing.assert_close(output, layer(tokens, mask=MASK))


def test_autocast_in_a_graph_leaves_the_router_its_precision(make_layer, random_tokens):
    layer, tokens = make_layer(), random_tokens(T, D)
    compiled = torch.compile(layer.forward_with_routing, fullgraph=True, backend="eager", dynamic=False)
    expected = layer.router(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        output, routing = compiled(tokens)
        outside, _ = layer.forward_with_routing(tokens)
    assert output.dtype == torch.bfloat16
    # A graph has no transposed product, so that the last bits differ; bfloat16 would be a thousand times as far off.
    torch.testing.assert_close(routing.routing_weights, expected.routing_weights, rtol=1e-6, atol=1e-6)
    assert torch.equal(routing.selected_experts, expected.selected_experts)
    torch.testing.assert_close(output, outside, atol=1e-4, rtol=0.05)


def test_an_exported_layer_takes_any_number_of_tokens(make_layer, random_tokens):
    layer = make_layer(capacity_factor=1.0, shared=8).eval()
    tokens = torch.export.Dim("tokens", min=2, max=64)
    program = torch.export.export(
        layer,
        (random_tokens(T, D),),
        {"mask": MASK},
        dynamic_shapes={"hidden_states": {0: tokens}, "mask": {0: tokens}},
    )
    for number in (T, 5):
        inputs = random_tokens(number, D, seed=2)
        torch.testing.assert_close(program.module()(inputs, mask=MASK[:number]), layer(inputs, mask=MASK[:number]))
