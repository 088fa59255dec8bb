"""python -m reports history: stored runs over commits, with the steps in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reports.commands.command import Command, parse
from reports.errors import ReportError
from reports.format.numbers import listing
from reports.page.write import write_files


def history(arguments: Sequence[str]) -> str:
    """Stored runs over commits, with the steps in them."""
    parser = COMMAND.parser("history")
    parser.epilog = "A file that is no run is named and skipped; exit code 2 where none is left."
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds files of pytest bench, in any folders below")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="what to follow, again for more: ratio (to the baseline), us_per_call, peak_memory, parameters, flops, "
        "or any metric of behaviour, such as token_entropy; default: ratio and us_per_call",
    )
    parser.add_argument(
        "--router", action="append", default=[], metavar="NAME", help="this router alone, again for more"
    )
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="likewise a scenario")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/history"),
        metavar="DIR",
        help="where the files go; default: %(default)s",
    )
    options = parse(parser, arguments)
    # Imported here: numpy, pandas and scipy take a second, and a wrong word is told without them.
    from reports.history.folder import read_folder
    from reports.history.metric import metrics_of
    from reports.history.page import history_files
    from reports.history.series import series_of, with_steps
    from reports.history.terminal import to_terminal

    stored = read_folder(options.folder)
    runs = stored.runs
    for field, wanted in (("router", options.router), ("scenario", options.scenario)):
        known = sorted({getattr(each, field) for run in runs for each in run.measurements})
        if unknown := [name for name in wanted if name not in known]:
            raise ReportError(f"--{field} {unknown[0]}: in no run; there are {listing(known)}")
        runs = tuple(
            replace(run, measurements=tuple(m for m in run.measurements if not wanted or getattr(m, field) in wanted))
            for run in runs
        )
    series = with_steps(series_of(runs, metrics_of(runs, options.metric)))
    if not series:
        raise ReportError(f"{options.folder}: no run holds what was asked for")
    write_files(history_files(stored, series), options.output)
    return f"{to_terminal(stored, series)}\nOpen {options.output / 'index.html'}"


COMMAND = Command(history, "FOLDER -o DIR", "follow stored runs over commits, and mark the steps")
