"""python -m reports traces: anybody's routing traces, measured as routers are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import Command, parse
from reports.errors import ReportError
from reports.page.write import write_files

_FILES = "parts of one trace, in order: their tokens are taken together"


def traces(arguments: Sequence[str]) -> str:
    """Anybody's routing traces, measured as routers are."""
    from reports.traces.formats.read import formats

    options = parse(_parser("\n".join(f"  {each.name:12}{each.about}" for each in formats().values())), arguments)
    from reports.traces.analysis import analyse, by_kind
    from reports.traces.decisions import check_export, export
    from reports.traces.formats.beside import with_domains, with_mask
    from reports.traces.formats.read import Hints, read_trace
    from reports.traces.tokens import Tokens

    if options.export:
        check_export(options.export)
    hints = Hints(options.num_experts, options.top_k, options.layers, options.selection, options.empty_slots)
    loads, parts = by_kind([read_trace(file, format=options.format, hints=hints) for file in options.files])
    if loads:
        _refuse_without_tokens(options, loads[0].source)
    parts = with_mask(parts, options.mask) if options.mask else parts
    parts = with_domains(parts, options.domains) if options.domains else parts
    against = [read_trace(file, format=options.against_format, hints=hints) for file in options.against or []] or None
    analysis = analyse([*loads, *parts], against=against, ranks=options.ranks, windows=options.windows)
    # Imported here: pandas and matplotlib take seconds, and a mistake is told without them.
    from reports.traces.page import trace_files

    files, findings = trace_files(analysis)
    said = []
    if options.export:
        number = export(Tokens(parts), options.export)
        said.append(f"{number:,} decisions in {options.export}")
    write_files(files, options.output)
    return "\n".join([*findings, *said, f"Open {options.output / 'index.html'}"])


def _refuse_without_tokens(options: argparse.Namespace, source: str) -> None:
    """Counts without tokens have none that could be masked, labelled, compared or exported."""
    given = [name for name in ("mask", "domains", "against", "export") if getattr(options, name)]
    if given:
        raise ReportError(f"{source}: --{given[0]} is of tokens, and the file has counts without tokens")


def _parser(known: str) -> argparse.ArgumentParser:
    parser = COMMAND.parser("traces")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"formats, found by looking at the file:\n{known}"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=_FILES)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/traces"),
        metavar="DIR",
        help="where the files go; default: %(default)s",
    )
    parser.add_argument("--format", metavar="NAME", help="read all files as this format")
    parser.add_argument("--top-k", type=_count, metavar="K", help="experts per token, where a file does not say it")
    parser.add_argument("--num-experts", type=_count, metavar="E", help="experts, where a file does not say it")
    parser.add_argument("--layers", type=_count, metavar="L", help="layers, where a file does not say it")
    parser.add_argument("--selection", metavar="NAME", help="how logits become probabilities: softmax or sigmoid")
    parser.add_argument(
        "--empty-slots", action="store_true", help="expert −1 is a slot without an expert, not a mistake"
    )
    parser.add_argument("--mask", type=Path, metavar="FILE", help="one value a token, 1 where it counts, 0 on padding")
    parser.add_argument("--domains", type=Path, metavar="FILE", help="one label a token: a language, a data set")
    parser.add_argument(
        "--ranks", type=_counts, metavar="R,R", help="expert-parallel ranks; default: 2,4,8 where they divide E"
    )
    parser.add_argument(
        "--windows", type=_count, default=16, metavar="N", help="windows to see drift in; default: %(default)s"
    )
    parser.add_argument("--against", nargs="+", type=Path, metavar="FILE", help="another trace of the same tokens")
    parser.add_argument("--against-format", metavar="NAME", help="its format")
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="one row a decision: .npz, or .parquet with pyarrow"
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"not a whole number from 1: {text!r}")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(each) for each in text.split(",")]


COMMAND = Command(traces, "FILE... -o DIR", "measure anybody's routing traces as routers are measured")
