import pytest

from reports.errors import ReportError
from reports.loading.document import BENCHMARKS, GATE, SELF_TEST, about, expect_kind, read_document, what_it_is


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"kind": "gate"}, "a gate's result (for `python -m reports gate`)"),
        # A self-test has a list of benchmarks too.
        ({"kind": "self-test", "benchmarks": []}, "a self-test of the gate (for `python -m reports operating`)"),
        ({"benchmarks": [], "study": {}}, BENCHMARKS),
        ({"benchmarks": []}, None),
        ({"kind": "newer"}, None),
        ({"kind": ["gate"]}, None),
        ([], None),
        ("gate", None),
    ],
)
def test_a_file_is_recognised(value, words):
    assert what_it_is(value) == words


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"kind": "self-test", "schema": 1}, "is a self-test of the gate"),
        ({"benchmarks": [], "study": {}}, "is a file of `pytest bench`"),
        ([1], "is no file of this suite, not a gate's result"),
        ({"kind": "gate"}, "has no field 'schema'"),
        ({"kind": "gate", "schema": 2}, "schema is 2; this version reads schema 1"),
    ],
)
def test_another_kind_or_schema_is_refused(value, reason):
    with pytest.raises(ReportError) as refusal:
        expect_kind(value, GATE, 1)
    assert reason in str(refusal.value)


def test_the_right_kind_passes():
    expect_kind({"kind": "self-test", "schema": 1}, SELF_TEST, 1)


def test_a_complaint_names_the_file(save):
    path = save("{", "odd.json")
    with pytest.raises(ReportError, match=r"odd\.json: not JSON, or cut off"), about(path):
        read_document(path)
