"""python -m reports schema: the JSON Schema of what this version reads of a kind of file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reports.commands.command import Command


def schema(arguments: Sequence[str]) -> str:
    """The JSON Schema of what this version reads of a kind of file."""
    from reports.loading.schema import DOCUMENTS, json_schema

    parser = COMMAND.parser("schema")
    parser.add_argument("document", choices=DOCUMENTS, nargs="?", default="bench", help="kind of file; default: bench")
    return json.dumps(json_schema(parser.parse_args(arguments).document), indent=2)


COMMAND = Command(schema, "[KIND]", "print the JSON Schema of what is read of a file")
