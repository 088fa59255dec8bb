"""A model in words: its name, what was asked for, and what is to be known about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_sentence(model: Mapping[str, Any], called: str = "Model") -> str:
    """Name, what was asked for where that was another, and the note: `Model: name (asked for: other): note`."""
    sentence = f"{called}: {model.get('name', 'unknown')}"
    requested = model.get("requested")
    if requested and requested != model.get("name"):
        sentence += f" (asked for: {requested})"
    note = str(model.get("note") or "").rstrip(".")
    return f"{sentence}: {note}." if note else f"{sentence}."


def model_phrase(model: Mapping[str, Any]) -> str:
    """The same inside another sentence."""
    return model_sentence(model, "").removeprefix(": ").rstrip(".")
