"""Figures drawn of what a test has made of a document."""

import pytest

from reports.figures.style import report_style
from reports.loading.load import load_report_data
from tests.reports.conftest import ROUNDS, TIMED


@pytest.fixture
def figure_of(save):
    """The figure that a builder makes of a document, drawn and not rendered."""

    def drawn(builder, document):
        with report_style():
            return builder(load_report_data([save(document)])).draw()

    return drawn


@pytest.fixture
def few(document):
    """The document with three routers and the inputs that are timed: read in a tenth of the time."""
    document["benchmarks"] = [
        benchmark
        for benchmark in document["benchmarks"]
        if benchmark["extra_info"]["router"] in ("linear", "attention", "mlp")
        and benchmark["extra_info"]["input"] in TIMED
    ]
    return document


@pytest.fixture
def with_durations(document):
    """The document with data of its rounds: a process a per cent slower than the one before it, four rounds each."""
    for benchmark in document["benchmarks"]:
        timing = benchmark["extra_info"]["timing"]
        benchmark["stats"]["data"] = [
            1e-6 * us * (1 + 0.01 * process) for process, us in enumerate(timing["process_us"]) for _ in range(ROUNDS)
        ]
    return document
