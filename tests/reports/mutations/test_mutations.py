"""Files that somebody has spoilt: each is refused in one short line, or shown; a contradiction is always refused."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reports.mutations.campaign import ALL, answer, contradictions, faults, structures
from tests.reports.mutations.documents import KINDS

FEW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_file_is_shown(kind, tmp_path):
    code, complaint, _ = answer(kind, json.dumps(KINDS[kind].fresh()), tmp_path)
    assert (code, complaint) == (0, "")


@pytest.mark.parametrize(
    ("kind", "generator", "words"),
    [(kind, *rest) for kind, rest in ALL if kind != "storage"],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_each_rule_refuses_what_breaks_it(kind, generator, words, tmp_path):
    @settings(parent=FEW, max_examples=4, database=None)
    @given(st.data())
    def check(data):
        document = KINDS[kind].fresh()
        generator(data.draw, document)
        code, complaint, seconds = answer(kind, json.dumps(document), tmp_path)
        assert code == 2
        assert words in complaint
        assert faults(code, complaint, seconds) == []

    check()


@settings(parent=FEW, max_examples=30)
@given(contradictions())
def test_no_contradiction_is_accepted(tmp_path, example):
    kind, text, _, words = example
    code, complaint, seconds = answer(kind, text, tmp_path)
    assert code == 2
    assert words in complaint
    assert faults(code, complaint, seconds) == []


@settings(parent=FEW, max_examples=60)
@given(structures(("storage", "gate")))
def test_whatever_the_structure_there_is_one_line_or_an_answer(tmp_path, example):
    assert faults(*answer(*example, tmp_path)) == []
