"""Many spoilt files, each read as a user would have it read: `python -m tests.reports.mutations.campaign 5000`.

It prints how many were made, refused and shown, the slowest answer, and everything that went wrong: a traceback, a
refusal of more than one line or without a path, a contradiction that was accepted.
"""

import contextlib
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reports.__main__ import main
from tests.reports.mutations import other_contradictions  # noqa: F401  # registers them
from tests.reports.mutations.contradictions import CONTRADICTIONS
from tests.reports.mutations.documents import KINDS
from tests.reports.mutations.structures import spoilt

LONGEST_LINE = 1000
LONGEST_S = 10.0
WEIGHTS = {"bench": 1, "storage": 8, "finetune": 1, "gate": 6, "self-test": 2}
ALL = [("bench", each) for each in CONTRADICTIONS["bench"] + CONTRADICTIONS["sample"]]
ALL += [("storage", each) for each in CONTRADICTIONS["bench"]]
ALL += [(kind, each) for kind in ("finetune", "gate", "self-test") for each in CONTRADICTIONS[kind]]


def answer(kind: str, text: str, folder: Path) -> tuple[int, str, float]:
    """Exit code, standard error and seconds of a command on a file: of this process, for the machine may be shared."""
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    said, complained = io.StringIO(), io.StringIO()
    began = time.process_time()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(KINDS[kind].command(path, folder / "out"))
    return code, complained.getvalue(), time.process_time() - began


def faults(code: int, complaint: str, seconds: float) -> list[str]:
    """What is wrong with an answer, whatever the file."""
    found = [f"took {seconds:.1f} s"] if seconds > LONGEST_S else []
    if code not in (0, 2, 3):
        found.append(f"exit code {code}")
    if code and (complaint.count("\n") != 1 or "file.json" not in complaint or len(complaint) > LONGEST_LINE):
        found.append(f"no short line with the file's name: {complaint[:300]!r}")
    if not code and complaint:
        found.append(f"shown with words on standard error: {complaint[:300]!r}")
    return found


@st.composite
def structures(draw, kinds=tuple(KINDS)):
    """(kind, text) of a file whose structure is spoilt."""
    # A page with figures takes seconds where it is shown: the fewest are made of what has most of them.
    kind = draw(st.sampled_from([kind for kind in kinds for _ in range(WEIGHTS[kind])]))
    return kind, json.dumps(draw(spoilt(KINDS[kind].fresh())))


@st.composite
def contradictions(draw):
    """(kind, text, name, words) of a file that contradicts itself, the rule, and a piece of the line it deserves."""
    kind, (generator, words) = draw(st.sampled_from(ALL))
    document = KINDS[kind].fresh()
    generator(draw, document)
    return kind, json.dumps(document), generator.__name__, words


def campaign(number: int, seed: int) -> int:
    """Runs so many of each sort; returns how many went wrong."""
    counts: Counter[str] = Counter()
    slowest, wrong = 0.0, []
    endless = {"max_examples": number, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    how = settings(**endless, phases=[Phase.generate])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def read(sort: str, kind: str, text: str, label: str, words: str | None) -> None:
            nonlocal slowest
            try:
                code, complaint, seconds = answer(kind, text, folder)
                found = faults(code, complaint, seconds)
                if words is not None and (code != 2 or words not in complaint):
                    found.append(f"accepted, or refused for something else: {code} {complaint[:300]!r}")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                code, seconds, found = -1, 0.0, [f"traceback: {type(error).__name__}: {str(error)[:300]}"]
            slowest = max(slowest, seconds)
            counts[f"{sort}, exit code {code}"] += 1
            if found:
                kept = Path(tempfile.gettempdir()) / f"wrong-{len(wrong)}-{kind}.json"
                kept.write_text(text, encoding="utf-8")
                wrong.append(f"{sort} {kind} {label}: {'; '.join(found)} ({kept})")
                print(wrong[-1], flush=True)

        @how
        @given(structures())
        def spoil(example):
            read("structure", *example, "", None)

        @how
        @given(contradictions())
        def contradict(example):
            read("contradiction", *example)

        random.seed(seed)
        for each in (contradict, spoil):
            each()
            print(dict(counts), f"slowest {slowest:.1f} s, {len(wrong)} wrong", flush=True)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
