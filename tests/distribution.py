"""Which worker runs what under `-n`: a file's tests on one worker, because they share what is dear to make.

xdist's `loadgroup` reads a test's group at the end of its id, where pytest 9.2 no longer lets it be written: every test
is a group of its own then, and both workers make each page, run and model.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONGEST = (
    "tests/bench/record/test_crash.py",
    "tests/test_recipes.py",
    "tests/bench/test_run.py",
    "tests/bench/gate/test_end_to_end.py",
    "tests/reports/test_main.py",
    "tests/harness/finetuning/test_command.py",
    "tests/bench/language_model/test_suite.py",
    "tests/bench/repetition/test_repetition.py",
    "tests/bench/record/test_mixing.py",
)
"""Files of few tests that take long: xdist begins with those of many tests, and a long one at the end is waited for."""


class LongestFirst(LoadFileScheduling):
    """Files as wholes: those that take longest, then those of most tests."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        for file in LONGEST:
            if file in self.workqueue:
                self.workqueue.move_to_end(file, last=False)
                break
        super()._assign_work_unit(node)
