import copy

import pytest

from reports.format.machine import describe, differences

# As conftest.py has it, without what no test here looks at.
MACHINE = {
    "cpu": {
        "model": "Synthetic CPU",
        "flags": ["avx", "avx2", "fma", "sse2", "sse4"],
        "logical": 2,
        "affinity": [0, 1],
    },
    "memory_bytes": 16 * 2**30,
    "governor": "performance",
    "os": {"system": "Linux", "release": "6.8.0"},
    "python": {"version": "3.12.3"},
    "torch": {"version": "2.13.0"},
    "gpu": None,
}


@pytest.fixture
def other():
    return copy.deepcopy(MACHINE)


def found(base, head):
    return [(d.field, d.base, d.head) for d in differences(base, head)]


def test_a_machine_is_like_itself(other):
    other["cpu"]["flags"].reverse()
    assert found(MACHINE, other) == []


def test_each_field_has_a_line(other):
    other["cpu"]["model"] = "Other CPU"
    other["memory_bytes"] = 8 * 2**30
    other["cpu"]["affinity"] = [2, 3]
    assert found(MACHINE, other) == [
        ("cpu.model", "Synthetic CPU", "Other CPU"),
        ("cpu.affinity", "0 and 1", "2 and 3"),
        ("memory_bytes", "17179869184", "8589934592"),
    ]


def test_of_a_long_list_only_what_one_side_alone_has_is_said(other):
    other["cpu"]["flags"] = ["avx", "amx", "fma", "sse2"]
    assert found(MACHINE, other) == [("cpu.flags", "base alone has avx2 and sse4", "head alone has amx")]


def test_a_field_that_one_side_lacks(other):
    del other["governor"]
    other["cpu"]["new"] = None
    other["gpu"] = {"name": "H100", "memory_bytes": 1}
    assert found(MACHINE, other) == [
        ("cpu.new", "not recorded", "none"),
        ("governor", "performance", "not recorded"),
        ("gpu", "none", "name H100, memory_bytes 1"),
    ]


def test_the_clock_rate_of_the_moment_is_no_difference():
    assert found({"cpu": {"hz_actual": [1, 0], "count": 2}}, {"cpu": {"hz_actual": [2, 0], "count": 2}}) == []


def test_a_machine_in_one_line(other):
    words = "Synthetic CPU, 2 CPUs, 16.0 GiB, Linux 6.8.0, Python 3.12.3, torch 2.13.0, governor performance"
    assert describe(other) == words
    other["gpu"], other["governor"] = {"name": "H100"}, "unavailable"
    assert describe(other) == "H100, " + words.removesuffix(", governor performance")
    other["native"] = {"numba": "0.68.1"}
    assert describe(other) == "H100, " + words.removesuffix(", governor performance") + ", numba 0.68.1"


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({}, "an unknown machine"),
        ({"cpu": {"brand_raw": "Old CPU", "count": 1}, "system": "Linux", "release": "6", "python_version": "3.11"},
         "Old CPU, 1 CPU, Linux 6, Python 3.11"),
        ({"processor": "x86_64", "cpu": None}, "x86_64"),
        ({"cpu": "odd", "memory_bytes": "much", "os": [], "gpu": 1, "torch": {"version": None}}, "an unknown machine"),
    ],
)  # fmt: skip
def test_what_is_missing_is_left_out(machine, words):
    assert describe(machine) == words
