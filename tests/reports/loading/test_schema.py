"""The JSON Schemas that `python -m reports schema` prints."""

import copy
import json

import pytest
from jsonschema import Draft202012Validator

from reports.commands.schema import schema
from reports.loading.schema import DOCUMENTS, json_schema
from tests.reports.comparisons.conftest import mixed_gate
from tests.reports.conftest import make_document, make_fine_tuning, make_language_document, make_peers_document
from tests.reports.loading.test_self_test import make_self_test

WRITTEN = {
    "bench": [make_document, make_language_document, make_peers_document],
    "finetune": [make_fine_tuning],
    "gate": [mixed_gate],
    "self-test": [make_self_test],
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_schema_is_one_and_takes_what_is_read(kind):
    Draft202012Validator.check_schema(json_schema(kind))
    for make in WRITTEN[kind]:
        Draft202012Validator(json_schema(kind)).validate(make())


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_schema_refuses_what_is_refused(kind):
    document = copy.deepcopy(WRITTEN[kind][0]())
    (document["study"] if kind == "bench" else document)["schema"] = 99
    assert not Draft202012Validator(json_schema(kind)).is_valid(document)
    assert not Draft202012Validator(json_schema(kind)).is_valid({})


def test_a_schema_names_the_bounds():
    document = make_document()
    document["benchmarks"][0]["extra_info"]["timing"]["us_per_call"] = 0
    assert not Draft202012Validator(json_schema("bench")).is_valid(document)


def test_the_command_prints_the_benchmarks_schema_unless_another_is_named(capsys):
    assert json.loads(schema([])) == json_schema("bench")
    assert json.loads(schema(["gate"])) == json_schema("gate")
    with pytest.raises(SystemExit) as end:
        schema(["other"])
    assert end.value.code == 2
    assert "choose from" in capsys.readouterr().err
