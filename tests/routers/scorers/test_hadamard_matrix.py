"""Hadamard matrices: entries ±1, orthogonal rows, the first row all ones."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import routers.scorers.hadamard_matrix
from routers.scorers.hadamard_matrix import hadamard_matrix, hadamard_rows

# Paley's primes: q mod 4 = 3
PALEY_ORDERS = [1, 4, 8, 12, 20, 24, 32, 44, 48]


def assert_hadamard(matrix, order):
    assert matrix.shape == (order, order)
    assert matrix.dtype == torch.float32
    assert torch.equal(matrix.abs(), torch.ones(order, order))
    assert torch.equal(matrix @ matrix.T, order * torch.eye(order))
    assert torch.equal(matrix[0], torch.ones(order))
    assert torch.equal(matrix[:, 0], torch.ones(order))


def test_order_768_is_paleys_12_times_sylvesters_64():
    matrix = hadamard_matrix(768)
    assert_hadamard(matrix, 768)
    assert torch.equal(matrix, torch.kron(hadamard_matrix(12), hadamard_matrix(64)))


def test_order_4_is_sylvesters():
    expected = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert torch.equal(hadamard_matrix(4), expected)


@given(paley=st.sampled_from(PALEY_ORDERS), power=st.integers(0, 4))
def test_every_product_of_the_two_constructions_is_exact(paley, power):
    order = paley << power
    assert_hadamard(hadamard_matrix(order), order)


@given(st.integers(1, 120))
def test_there_is_no_odd_order_above_one(half):
    assert hadamard_matrix(2 * half + 1) is None


@pytest.mark.parametrize("order", [6, 10, 28, 36, 100])
def test_an_order_that_is_no_such_product_gives_none(order):
    # 28 = 27 + 1: 27 mod 4 = 3 but 27 is no prime; 36 = 35 + 1 and 35 = 5 · 7; 6 and 10 are no multiples of 4
    assert hadamard_matrix(order) is None


@pytest.mark.parametrize(("first", "count"), [(0, 768), (1, 128), (767, 1)])
def test_rows_are_those_of_the_matrix(first, count):
    assert torch.equal(hadamard_rows(768, first, count), hadamard_matrix(768)[first : first + count])


def test_rows_share_no_memory_with_the_matrix_they_are_cut_from():
    rows = hadamard_rows(768, 1, 8)
    assert rows.untyped_storage().nbytes() == 8 * 768 * 4


def test_the_matrix_is_made_once_for_all_layers_of_a_model(monkeypatch):
    made = []

    def count(order):
        made.append(order)
        return hadamard_matrix(order)

    monkeypatch.setattr("routers.scorers.hadamard_matrix.hadamard_matrix", count)
    routers.scorers.hadamard_matrix._construct_rows.cache_clear()
    first, *others = (hadamard_rows(192, 1, 128) for _ in range(24))
    assert made == [192]
    assert all(torch.equal(first, other) for other in others)


def test_a_router_may_change_its_rows_and_others_keep_theirs():
    hadamard_rows(192, 1, 8).zero_()
    assert torch.equal(hadamard_rows(192, 1, 8), hadamard_matrix(192)[1:9])


def test_cut_rows_without_orthogonality_warn_each_time():
    for _ in range(2):
        with pytest.warns(UserWarning, match="no Hadamard matrix of order 6"):
            hadamard_rows(6, 1, 3)


def test_cut_rows_are_taken_with_a_warning():
    with pytest.warns(UserWarning, match="no Hadamard matrix of order 6"):
        rows = hadamard_rows(6, 1, 3)
    assert torch.equal(rows, hadamard_matrix(8)[1:4, :6])


def test_cut_rows_that_are_orthogonal_come_without_a_warning():
    # rows 1 and 2 of Sylvester's order 64 repeat every 4 columns, and 4 divides 36
    assert hadamard_matrix(36) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = hadamard_rows(36, 1, 2)
    assert torch.equal(rows @ rows.T, 36 * torch.eye(2))


@pytest.mark.parametrize(
    ("hidden_size", "first", "count"),
    [pytest.param(8, 1, 8, id="one_too_many"), pytest.param(6, 0, 9, id="of_the_cut"), pytest.param(1, 1, 1, id="D=1")],
)
def test_more_rows_than_there_are_is_refused(hidden_size, first, count):
    with pytest.raises(ValueError, match=f"hidden_size {hidden_size} has no rows {first} to {first + count - 1}"):
        hadamard_rows(hidden_size, first, count)
