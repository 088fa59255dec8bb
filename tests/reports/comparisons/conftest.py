"""A synthetic result of the gate and two stored runs, with numbers that can be recomputed by hand."""

import copy

import pytest

MACHINE = {
    "cpu": {
        "model": "Synthetic CPU",
        "vendor": "Nobody",
        "architecture": "x86_64",
        "flags": ["avx", "avx2", "avx512f", "fma", "sse4_2"],
        "cores": 1,
        "logical": 2,
        "affinity": [0, 1],
    },
    "memory_bytes": 16 * 2**30,
    "governor": "unavailable",
    "threads": {"torch": 1, "OMP_NUM_THREADS": None},
    "os": {"system": "Linux", "release": "6.8.0", "libc": "glibc 2.39"},
    "python": {"version": "3.12.3", "implementation": "CPython"},
    "torch": {
        "version": "2.13.0",
        "build": ["PyTorch built with:", "- GCC 13.3", "- C++17", "- oneDNN v3.11", "- MKL"],
    },
    "gpu": None,
}


def interval(estimate, half_width=0.01):
    return {"estimate": estimate, "low": estimate - half_width, "high": estimate + half_width}


def gate_row(benchmark, verdict="SAME", ratio=1.0, **changes):
    scenario, input_name, router = benchmark.split(" | ", 2)
    row = {
        "benchmark": benchmark,
        "scenario": scenario,
        "input": input_name,
        "router": router,
        "base_us": 800.0,
        "head_us": None if ratio is None else 800.0 * ratio,
        "ratio": None if ratio is None else interval(ratio),
        "noise": interval(1.001),
        "floor": 0.004,
        "pairs": 6,
        "first_look": None,
        "verdict": verdict,
        "reason": None,
        "expected": False,
    }
    return row | changes


def make_gate(rows=(), exit_code=0, reasons=(), **changes):
    means = [(row["first_look"] or row["ratio"])["estimate"] for row in rows if row["ratio"]]
    document = {
        "schema": 1,
        "kind": "gate",
        "date": "2026-01-02T03:04:05+00:00",
        "base": {"ref": "main", "commit": "1a2b3c4d" + "0" * 32, "subject": "Shorter lines"},
        "head": {"ref": "fuse", "commit": "5e6f7a8b" + "0" * 32, "subject": "Fuse the softmax"},
        "notices": [],
        "preset": {"name": "ci", "repetitions": 5, "rounds": 20, "warmup": 5, "seeds": 5},
        "select": None,
        "device": "cpu",
        "threads": 1,
        "threshold": 0.02,
        "floor_multiple": 3.0,
        "budget_s": 600,
        "elapsed_s": 312.4,
        "machine": copy.deepcopy(MACHINE),
        "conditions": {"before": {"load": [0.1, 0.2, 0.3]}, "after": {"load": [0.9, 0.4, 0.3]}},
        "rows": list(rows),
        "figures": [],
        "figures_compared": 1248,
        "added": [],
        "removed": [],
        "geometric_mean": interval(min(max(1.002, min(means)), max(means)), 0.002) if len(means) > 1 else None,
        "outcome": {"exit_code": exit_code, "reasons": list(reasons)},
    }
    return document | changes


def mixed_gate(same=14):
    """One row of each verdict, one expected, and so many that are the same."""
    rows = [gate_row(f"router | random | r{number:02}", ratio=1 + number / 10_000) for number in range(same)]
    rows += [
        gate_row("router | random | linear", "SLOWER", 1.104, pairs=12, first_look=interval(1.1)),
        gate_row("training | random | mlp", "SLOWER", 1.25, expected=True),
        gate_row("router | contextual | hash", "FASTER", 0.8),
        gate_row("token | random | hybrid", "UNCERTAIN", 1.03, reason="The time was up after 6 pairs."),
        gate_row("router | random | broken", "FAILED", None, reason="Head disagrees with the reference.", floor=None),
    ]
    return make_gate(
        rows,
        exit_code=1,
        reasons=["router | random | linear is slower: 1.104 [1.094, 1.114]", "router | random | broken failed"],
        notices=["The working tree has uncommitted changes, which are not compared."],
        figures=[
            {"benchmark": "router | random | linear", "figure": "parameters", "base": 6144, "head": 6152,
             "expected": False},
            {"benchmark": "router | random | mlp", "figure": "token_entropy", "base": 1.95241, "head": None,
             "expected": True},
        ],
        added=["router | random | newcomer"],
        removed=["router | random | veteran"],
    )  # fmt: skip


@pytest.fixture
def gate_document():
    """A copy of its own for each test to spoil."""
    return mixed_gate()


@pytest.fixture
def gate_factory():
    """The functions that make rows and whole results."""
    return gate_row, make_gate


@pytest.fixture(scope="session")
def small(pristine):
    """A run of three routers in one group, without what only the figures need, with a machine."""
    infos = [b for b in pristine["benchmarks"] if b["extra_info"]["scenario"] == "token"]
    run = {key: value for key, value in pristine.items() if key != "benchmarks"}
    run["benchmarks"] = [b for b in infos if b["extra_info"]["input"] == "random"][:3]
    run = copy.deepcopy(run)
    run["study"]["machine"] = copy.deepcopy(MACHINE)
    run["study"]["conditions"] = {"before": {"load": [0.1]}, "after": {"load": [0.2]}}
    return run


@pytest.fixture
def two_runs(small):
    """Two equal runs of different days to spoil: linear, attention and mlp, one token on random input."""
    base, head = copy.deepcopy(small), copy.deepcopy(small)
    head["datetime"] = "2026-01-03T03:04:05"
    return base, head
