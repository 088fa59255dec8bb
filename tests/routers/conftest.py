"""Shared by the router tests: seeded routers and tokens, the plain formulas' building blocks, the paper's statistics.

Every helper is a session-scoped function, so that hypothesis may call it as often as it likes.
"""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings

import routers
from routers.reference.rule import reference_selection

# The same examples in every run and on every machine, and no complaint about a slow one on a shared core.
settings.register_profile("routers", derandomize=True, database=None, deadline=None, max_examples=25)
settings.load_profile("routers")


def pytest_generate_tests(metafunc):
    if "router_name" in metafunc.fixturenames:
        metafunc.parametrize("router_name", routers.list_routers(every=True))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tensors here are tiny: more threads gain nothing, and on busy cores they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def compiler():
    """Clean before and after: torch compiles a function a few times in a process, and then no more."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="session")
def make_router():
    """A router by name, in evaluation mode.

    `spread` > 0 moves every parameter, so that biases, norms and mixtures are not at 0 and 1.
    """

    def make(name, *, hidden_size=32, num_experts=8, top_k=2, seed=0, spread=0.0, **options):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no Hadamard matrix of order", UserWarning)
            try:
                router = routers.create_router(
                    name, hidden_size=hidden_size, num_experts=num_experts, top_k=top_k, **options
                )
            except ValueError as error:
                # Of a rule with groups: they do not suit every size that a test takes.
                if "groups stay" in str(error) or "num_groups" in str(error):
                    pytest.skip(str(error))
                raise
        with torch.no_grad():
            for parameter in router.parameters():
                parameter += spread * torch.randn_like(parameter)
        return router.eval()  # what differs while it trains has tests of its own

    return make


@pytest.fixture(scope="session")
def random_tokens():
    """N(0, 1) values of a shape, from a seed of their own."""

    def make(*shape, seed=0, dtype=torch.float32):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 + seed)).to(dtype)

    return make


@pytest.fixture(scope="session")
def assert_simplex():
    """Float32, nothing below 0, each row's sum 1."""

    def check(probs, dtype=torch.float32):
        assert probs.dtype == dtype
        assert bool((probs >= 0).all())
        torch.testing.assert_close(probs.sum(dim=-1), torch.ones(probs.shape[:-1], dtype=dtype), atol=1e-5, rtol=0)

    return check


@pytest.fixture(scope="session")
def decided():
    """The tokens (T,), True or False, whose experts no rounding changes: the Kth logit is clear of the next."""

    def find(router, tokens):
        logits = router.unmasked_logits(tokens)
        if not router.selection.is_softmax_top_k:
            bias = None if router.selection_bias is None else router.selection_bias.double()
            found = (reference_selection(router.selection, each, router.top_k, bias, None) for each in logits.double())
            margins = [token.margin for token in found]
            return torch.tensor(margins) > 1e-5 * logits.abs().amax(dim=-1).clamp_min(1)
        if router.top_k == router.num_experts:
            return torch.ones(len(tokens), dtype=torch.bool)
        best = logits.sort(dim=-1, descending=True).values
        # Float32 rounds to 1.2e-7 of a value; the sums in a logit multiply that by less than the square root of D.
        clear = best[:, router.top_k - 1] - best[:, router.top_k] > 1e-5 * logits.abs().amax(dim=-1)
        assert int(clear.sum()) >= 0.9 * len(tokens), "nearly every token must count"
        return clear

    return find


@pytest.fixture(scope="session")
def plain():
    """Building blocks in Python floats, over lists: nothing of torch or of the package is in them."""

    def softmax(logits):
        exponentials = [math.exp(v - max(logits)) for v in logits]
        return [v / sum(exponentials) for v in exponentials]

    def layer_norm(values, scale=None, shift=None, epsilon=1e-5):
        scale, shift = scale or [1.0] * len(values), shift or [0.0] * len(values)
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + epsilon)
        return [s * (v - mean) / deviation + b for v, s, b in zip(values, scale, shift, strict=True)]

    def gelu(values):
        return [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in values]

    def matvec(rows, values, bias=None):
        bias = bias or [0.0] * len(rows)
        return [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(rows, bias, strict=True)]

    def unit(values):
        return [v / math.sqrt(sum(u * u for u in values)) for v in values]

    return SimpleNamespace(softmax=softmax, layer_norm=layer_norm, gelu=gelu, matvec=matvec, unit=unit)


@pytest.fixture(scope="session")
def assert_equals_formula(random_tokens):
    """The router in float64 and in float32 against a formula (token as a list) -> list of E probabilities."""

    def check(router, formula):
        tokens = random_tokens(5, router.hidden_size)
        expected = torch.tensor([formula(token) for token in tokens.double().tolist()], dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(router(tokens).router_probs.double(), expected, atol=1e-5, rtol=0)
            router = router.double()
            torch.testing.assert_close(router(tokens.double()).router_probs, expected, atol=1e-12, rtol=0)

    return check


@pytest.fixture(scope="session")
def parameters_of():
    """A router's parameters as nested Python lists in float64, by name."""

    def lists(router):
        return {name: parameter.detach().double().tolist() for name, parameter in router.named_parameters()}

    return lists


@pytest.fixture(scope="session")
def parameter_count():
    """The number of a router's parameters at the paper's D = 768, E = 8."""

    def count(name, **options):
        router = routers.create_router(name, hidden_size=768, num_experts=8, top_k=2, **options)
        return sum(parameter.numel() for parameter in router.parameters())

    return count


@pytest.fixture(scope="session")
def paper_statistics(make_router, random_tokens):
    """Entropy and mean top-2 probability at the paper's sizes: T = 2048, D = 768, E = 8, x ~ N(0, 1)."""

    def statistics(name, seed, **options):
        router = make_router(name, hidden_size=768, seed=seed, **options)
        with torch.no_grad():
            probs = router(random_tokens(2048, 768, seed=seed)).router_probs.double()
        entropy = -torch.special.xlogy(probs, probs).sum(dim=1).mean()
        return float(entropy), float(probs.topk(2).values.mean())

    return statistics
