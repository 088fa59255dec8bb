"""What the tests of measurements share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.repetition.repetition import Repetition
from bench.run import Run
from bench.suite import Suite
from bench.timing.interleave import peak_gflops
from harness.progress import Bar, Progress
from tests.bench.runs import Files, Zygote, copy_sources


class Silent:
    """A bar that shows nothing."""

    def update(self, n: int = 1) -> object:
        return n


@contextmanager
def _no_bar(what: str, steps: int) -> Iterator[Bar]:
    yield Silent()


Measure = Callable[..., None]


@pytest.fixture(autouse=True, scope="session")
def small_peaks() -> Iterator[None]:
    """The machine's peak is taken of small products: each process takes it twice, and large ones take seconds."""
    small = partial(peak_gflops, shapes=[(64, 64, 64)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.repetition.repetition.peak_gflops", small)
        yield


@pytest.fixture(scope="session")
def measure() -> Measure:
    """Measures all that some suites of one context have planned, in this process."""

    def measure_here(*suites: Suite[Any]) -> None:
        run = Run(suites[0].preset, suites[0].context, suites)
        run.measure(lambda plan, folder: nullcontext(Repetition(plan, folder)))

    return measure_here


@pytest.fixture(scope="session")
def no_bar() -> Progress:
    return _no_bar


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a run is made of."""
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def zygote(sources: Path) -> Iterator[Zygote]:
    """Makes runs of `pytest bench`."""
    with closing(Zygote(sources, sources / "output")) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def other_zygote(sources: Path) -> Iterator[Zygote]:
    """For a second run at once."""
    with closing(Zygote(sources, sources / "other-output")) as zygote:
        yield zygote


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """What a run leaves."""
    return Files(tmp_path)
