"""A file of any format as a `RoutingTrace`: the format that is named, or the first that knows the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from reports.format.escape import one_line, shorten
from reports.traces.errors import TraceError
from reports.traces.formats.containers import Arrays, open_arrays
from reports.traces.loads import LoadTrace
from reports.traces.trace import RoutingTrace

Trace = RoutingTrace | LoadTrace


@dataclass(frozen=True)
class Hints:
    """What the caller says where a file does not.

    Attributes:
        num_experts: E.
        top_k: K.
        layers: L.
        selection: how logits become probabilities and experts.
        empty_slots: a slot may hold −1, no expert.
    """

    num_experts: int | None = None
    top_k: int | None = None
    layers: int | None = None
    selection: str | None = None
    empty_slots: bool = False

    def agreed(self, name: str, said: int | None, source: str) -> int | None:
        """A size that a file and the caller may both say.

        Raises:
            TraceError: they say different numbers.
        """
        asked: int | None = getattr(self, name)
        if asked is not None and said is not None and asked != said:
            raise TraceError(f"{source}: {name} is {said}, asked for {asked}")
        return said if asked is None else asked


class Candidate:
    """A file that some format may know: its arrays, its lines or its JSON, each read once and only if asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = shorten(one_line(path.name), 120)
        self.suffix = path.suffix.lower()

    @cached_property
    def arrays(self) -> Arrays | None:
        """Of a safetensors, npz or npy file; None of another."""
        return open_arrays(self.path)

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines that are not blank, with their numbers from 1.

        Raises:
            TraceError: it is no text.
        """
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield number, line
        except UnicodeDecodeError as error:
            raise TraceError(f"{self.name}: no text in UTF-8: {error.reason}") from None

    def objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The objects of a JSON file, one or a list of them, or of JSON lines; each with its place in words."""
        if self.suffix == ".json":
            for place, value in enumerate(self.document if isinstance(self.document, list) else [self.document]):
                yield self._object(f"{self.name}[{place}]" if isinstance(self.document, list) else self.name, value)
            return
        for number, line in self.lines():
            where = f"{self.name}, line {number}"
            yield self._object(where, parse_json(line, where))

    def _object(self, where: str, value: Any) -> tuple[str, dict[str, Any]]:
        if not isinstance(value, dict):
            raise TraceError(f"{where}: a {type(value).__name__}, expected an object")
        return where, value

    @cached_property
    def document(self) -> Any:
        """Of a JSON file."""
        return parse_json("".join(line for _, line in self.lines()), self.name)

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first object of JSON or JSON lines; empty where there is none or the file is of another kind."""
        if self.suffix not in (".json", ".jsonl", ".ndjson"):
            return {}
        if self.suffix == ".json" and isinstance(self.document, list):
            return next((each for each in self.document[:1] if isinstance(each, dict)), {})
        return next((value for _, value in self.objects()), {})


def parse_json(text: str, where: str) -> Any:
    """What JSON says.

    Raises:
        TraceError: it is none, or is cut off, or holds NaN.
    """

    def refuse(constant: str) -> Any:
        raise TraceError(f"{where}: {constant}, expected finite numbers")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise TraceError(f"{where}: no JSON, or cut off: {error}") from None


@dataclass(frozen=True)
class TraceFormat:
    """A format; `FORMAT` of a module of this package.

    Attributes:
        name: by which `--format` forces it.
        about: what writes it, for the help.
        knows: whether a file looks like it.
        read: the file as a trace.
        place: the smaller, the earlier it is asked.
    """

    name: str
    about: str
    knows: Callable[[Candidate], bool]
    read: Callable[[Candidate, Hints], Trace]
    place: int = 0


def formats() -> dict[str, TraceFormat]:
    """Those that there are by name, in the order in which they are asked."""
    package = __package__ or ""
    modules = (import_module(f"{package}.{each.name}") for each in iter_modules(import_module(package).__path__))
    found = (getattr(module, "FORMAT", None) for module in modules)
    known = sorted((each for each in found if isinstance(each, TraceFormat)), key=lambda each: each.place)
    return {each.name: each for each in known}


def read_trace(path: Path | str, *, format: str | None = None, hints: Hints | None = None) -> Trace:
    """Read a trace: a `RoutingTrace`, or a `LoadTrace` of a file that has counts without tokens.

    Args:
        path: of the file.
        format: its name; found by looking at the file, unless given.
        hints: what the file may leave unsaid.

    Raises:
        TraceError: it cannot be read; one line says of which place, and why.
    """
    candidate = Candidate(Path(path))
    known = formats()
    if format is not None and format not in known:
        raise TraceError(f"unknown format {format[:60]!r}; there are: {', '.join(known)}")
    try:
        if not candidate.path.is_file():
            raise TraceError(f"{candidate.name}: there is no such file")
        if not candidate.path.stat().st_size:
            raise TraceError(f"{candidate.name}: empty")
        found = known[format] if format else next((each for each in known.values() if each.knows(candidate)), None)
        if found is None:
            raise TraceError(f"{candidate.name}: no format that is known: {', '.join(known)}; --format names one")
        return found.read(candidate, hints or Hints())
    except OSError as error:
        raise TraceError(f"{candidate.name}: cannot be read: {error.strerror or error}") from None
