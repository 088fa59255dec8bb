"""What `python -m reports` can do: a command takes its arguments, writes its files and returns what to print."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.comparisons.comment import to_comment
from reports.comparisons.comparison import Comparison
from reports.comparisons.gate import load_gate
from reports.comparisons.stored import THRESHOLD, compare_files
from reports.comparisons.terminal import to_terminal
from reports.loading.load import load_report_data
from reports.loading.self_test import load_self_test
from reports.page.write import write_file, write_files

_PROGRAM = "python -m reports"
_FILES = "written by pytest bench or by python -m harness finetune"


def report(arguments: Sequence[str]) -> str:
    """Tables, figures and one page of what `pytest bench` and `python -m harness finetune` wrote."""
    options = _parse(_report_parser(), arguments)
    data = load_report_data(options.files)
    # Imported here, as below: pandas and matplotlib take seconds, and a comparison is shown without them.
    from reports.page.report import announcement, report_files
    from reports.page.sections import build_sections

    sections = build_sections(data)
    write_files(report_files(data, sections), options.output)
    return announcement(data, sections, options.output / "index.html")


def gate(arguments: Sequence[str]) -> str:
    """A result of the gate, for a terminal and for a pull request."""
    parser = _parser("gate")
    parser.add_argument("file", type=Path, metavar="GATE.json", help="written by python -m bench.gate")
    options = _parse(_with_outputs(parser), arguments)
    return _shown(load_gate(options.file), options)


def compare(arguments: Sequence[str]) -> str:
    """Two stored runs side by side."""
    parser = _parser("compare")
    parser.epilog = (
        "Exit code 3: the files have no benchmark in common that can be compared, or are one and the same run."
    )
    parser.add_argument("base", type=Path, metavar="A.json", help="what is compared with; written by pytest bench")
    parser.add_argument("head", type=Path, metavar="B.json", help="what is judged; written by pytest bench")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=THRESHOLD,
        metavar="PERCENT",
        help=f"how far a ratio has to be from 1, with its whole interval; default: {100 * THRESHOLD:g}",
    )
    options = _parse(_with_outputs(parser), arguments)
    return _shown(compare_files(options.base, options.head, options.threshold), options)


def operating(arguments: Sequence[str]) -> str:
    """How large a slowdown the gate finds how often."""
    parser = _parser("operating")
    parser.add_argument("file", type=Path, metavar="SELFTEST.json", help="written by the gate's self-test")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the files go")
    options = _parse(parser, arguments)
    test = load_self_test(options.file)
    from reports.figures.operating import curve
    from reports.format.render import to_text
    from reports.page.report import operating_files
    from reports.tables.operating import operating_table

    table = operating_table(test)
    write_files(operating_files(table, curve(test)), options.output)
    return "\n".join([to_text(table), "", *table.findings, f"Open {options.output / 'operating.png'}"])


def schema(arguments: Sequence[str]) -> str:
    """The JSON Schema of what this version reads of a kind of file."""
    from reports.loading.schema import DOCUMENTS, json_schema

    parser = _parser("schema")
    parser.add_argument("document", choices=DOCUMENTS, nargs="?", default="bench", help="kind of file; default: bench")
    return json.dumps(json_schema(parser.parse_args(arguments).document), indent=2)


@dataclass(frozen=True)
class Command:
    """What a first word stands for."""

    run: Callable[[Sequence[str]], str]
    arguments: str
    purpose: str


COMMANDS = {
    "gate": Command(gate, "GATE.json", "show what the regression gate found"),
    "compare": Command(compare, "A.json B.json", "set two stored runs side by side"),
    "schema": Command(schema, "[KIND]", "print the JSON Schema of what is read of a file"),
    "operating": Command(operating, "SELFTEST.json -o DIR", "show how large a slowdown the gate finds how often"),
}


def _shown(comparison: Comparison, options: argparse.Namespace) -> str:
    if options.markdown:
        write_file(to_comment(comparison).encode(), options.markdown)
    return to_terminal(comparison, show_all=options.all)


def _report_parser() -> argparse.ArgumentParser:
    commands = "\n".join(
        f"  {_PROGRAM} {f'{word} {command.arguments}':32} {command.purpose}" for word, command in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Turn files of benchmarks and fine-tuning into tables, figures and one offline page.",
        epilog="Benchmarks and fine-tuning in any order. Where two files hold the same measurement or run, the later\n"
        "file wins and the report says so; two language models, or two settings of fine-tuning, are refused.\n"
        f"\nother commands, each with a --help of its own:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help=_FILES)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/report"),
        metavar="DIR",
        help="where the files go; default: %(default)s",
    )
    return parser


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options; `--option=--`, of which argparse makes an empty list, is an error like any other."""
    for word in words:
        if re.fullmatch(r"--[\w-]+=--|-\w--", word):
            parser.error(f"{word}: '--' is no value")
    return parser.parse_args(words)


def _parser(word: str) -> argparse.ArgumentParser:
    purpose = COMMANDS[word].purpose
    return argparse.ArgumentParser(prog=f"{_PROGRAM} {word}", description=f"{purpose[:1].upper()}{purpose[1:]}.")


def _with_outputs(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it for a comment on a pull request too")
    parser.add_argument("--all", action="store_true", help="show every benchmark, those that are the same too")
    return parser


def _share(text: str) -> float:
    """A percentage above zero as a share of one."""
    try:
        percentage = float(text)
    except ValueError:
        percentage = math.nan
    if not 0 < percentage < math.inf:
        raise argparse.ArgumentTypeError(f"not a percentage above zero: {text!r}")
    return percentage / 100
