"""python -m reports export: a run's values for another tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.commands.command import Command, parse
from reports.page.write import write_file, write_files


def export(arguments: Sequence[str]) -> str:
    """A run's values for another tool."""
    # Imported here: the list of commands needs none of it.
    from reports.exports.format import EXPORTED, formats, values_of

    known = formats()
    parser = COMMAND.parser("export")
    parser.epilog = "Formats: " + "; ".join(
        f"{name}: {each.purpose}, OUT is a {each.out}" for name, each in known.items()
    )
    parser.add_argument("format", choices=known, metavar="FORMAT", help=f"one of {', '.join(known)}")
    parser.add_argument("file", type=Path, metavar="FILE.json", help="written by pytest bench")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="where it goes")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help=f"as for history; default: {', '.join(EXPORTED)}"
    )
    options = parse(parser, arguments)
    from reports.history.folder import read_run
    from reports.history.metric import metrics_of

    run = read_run(options.file)
    values, left_out = values_of(run, metrics_of([run], options.metric or EXPORTED))
    files = known[options.format].files(run, values, options.output)
    if list(files) == [""]:
        write_file(files[""], options.output)
    else:
        write_files(files, options.output)
    benchmarks = len({value.name for value in values})
    return "\n".join([f"{len(values):,} values of {benchmarks:,} benchmarks in {options.output}", *left_out])


COMMAND = Command(export, "FORMAT FILE.json -o OUT", "write a run's values for asv or Bencher")
