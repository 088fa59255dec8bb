"""A model in words: its name, what was asked for, and what is to be known about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.records.fine_tuning import FineTuning


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


def tuned_title(tuning: FineTuning, title: str) -> str:
    """A table's or figure's title, marked where the runs are a subsample."""
    return f"{title} (quick run)" if tuning.quick else title


def tuned_caption(tuning: FineTuning, caption: str) -> str:
    """A caption that names the model, and says of a subsample that it is no result."""
    quick = " A quick run on a subsample: it proves that the parts work, and is no result." if tuning.quick else ""
    return f"{caption} {model_sentence(tuning.model)}{quick}"
