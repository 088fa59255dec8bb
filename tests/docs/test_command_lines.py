"""The page of all options says what the programs take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.command_lines import BEGIN, END, PAGE, PROGRAMS, parser_of, written

ROOT = Path(__file__).parents[2]
STARTED_BY_OTHERS = {"bench.gate.worker", "bench.repetition.worker"}
WITHOUT_OPTIONS = {"bench.router.rule_precision"}


def test_the_page_is_up_to_date() -> None:
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == written(), "python -m tests.docs.command_lines writes it anew"


def test_no_path_of_a_machine_is_in_it() -> None:
    assert "`/" not in PAGE.read_text()


def test_a_program_without_help_is_noticed() -> None:
    with pytest.raises(AssertionError, match="has no help"):
        parser_of(lambda words: None)


def test_no_program_of_the_measurement_is_left_out() -> None:
    modules = [path for path in (ROOT / "bench").rglob("*.py") if '__name__ == "__main__"' in path.read_text()]
    found = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in modules}
    documented = {program.removeprefix("python -m ") for program in PROGRAMS}
    assert found - STARTED_BY_OTHERS - WITHOUT_OPTIONS == documented
