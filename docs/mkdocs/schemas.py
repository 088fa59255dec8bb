"""The JSON Schemas of all files that reports read: as tables on a page, and as files beside it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.append(str(Path(__file__).parents[2]))
from reports.loading.schema import DOCUMENTS, json_schema

_MARK = re.compile(r"^<!-- schema: ([a-z-]+) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a file a schema, as `python -m reports schema` prints it."""
    for kind in DOCUMENTS:
        text = json.dumps(json_schema(kind), indent=2)
        files.append(File.generated(config, f"reference/schemas/{kind}.json", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with a schema's tables after each mark that names it."""
    return _MARK.sub(lambda match: _tables(match[1]), markdown)


def _tables(kind: str) -> str:
    schema = json_schema(kind)
    parts = [f"[{kind}.json](schemas/{kind}.json) is the schema itself.", _table(schema, kind)]
    for name, record in sorted(schema["$defs"].items()):
        parts += [f"### {kind}: {name.lstrip('_')}", record.get("description", ""), _table(record, kind)]
    return "\n\n".join(part for part in parts if part)


def _table(record: dict[str, Any], kind: str) -> str:
    """A row a field; of a record that has none, what it is."""
    fields = record.get("properties")
    if not fields:
        return f"{_holds(record, kind)}."
    rows = [
        f"| `{name}` | {_holds(field, kind)} | {_presence(name, field, record)} |" for name, field in fields.items()
    ]
    return "\n".join(["| field | holds | presence |", "|---|---|---|", *rows])


def _presence(name: str, field: dict[str, Any], record: dict[str, Any]) -> str:
    return "required" if name in record.get("required", ()) else f"default `{json.dumps(field.get('default'))}`"


def _holds(field: dict[str, Any], kind: str) -> str:
    """What a field holds, in words, records with links to their tables; where it may be several things, all of them."""

    def inner(part: dict[str, Any]) -> str:
        return _holds(part, kind)

    def link(path: str) -> str:
        name = path.rpartition("/")[2].lstrip("_")
        return f"[{name}](#{kind}-{name.lower()})"

    known = {
        "anyOf": lambda parts: " or ".join(map(inner, parts)),
        "$ref": link,
        "const": lambda value: f"`{json.dumps(value)}`",
        "enum": lambda values: ", ".join(f"`{value}`" for value in values),
        "prefixItems": lambda parts: "array: " + ", ".join(map(inner, parts)),
        "items": lambda part: f"array of {inner(part)}",
        "additionalProperties": lambda part: "object" if part is True else f"object, its values {inner(part)}",
        "type": str,
    }
    return next((said(field[key]) for key, said in known.items() if field.get(key) not in (None, False)), "anything")
