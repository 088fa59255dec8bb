"""Which memory is asked to lie in large pages. Axes: E experts, O outputs, I inputs."""

import pytest
import torch

from routers.layer import gradient_memory
from routers.layer.gradient_memory import LARGEST, SMALLEST, in_large_pages, untouched_zeros


@pytest.fixture
def advised(monkeypatch):
    """The bytes of each piece of memory that the system was advised about."""
    pieces = []
    monkeypatch.setattr(gradient_memory, "_madvise", lambda: lambda first, size, advice: pieces.append(size.value))
    return pieces


@pytest.mark.parametrize(
    ("size", "is_advised"), [(SMALLEST - 4, False), (SMALLEST, True), (LARGEST, True), (LARGEST + 4, False)]
)
def test_memory_of_a_middling_size_is(size, is_advised, advised):
    memory = torch.empty(size // 4)
    assert in_large_pages(memory) is memory
    assert bool(advised) is is_advised
    assert all(size - 4096 <= piece <= size for piece in advised)


def test_what_nobody_touches_is_zero_at_any_size():
    for rows in (1, SMALLEST // 4096 + 1):
        zeros = untouched_zeros((rows, 1024), torch.empty(0))
        assert zeros.shape == (rows, 1024)
        assert not zeros.any()
