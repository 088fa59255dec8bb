"""python -m reports FILE.json... -o DIR, and its other commands, which are modules of `reports.commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from reports.commands.command import commands
from reports.commands.report import report
from reports.errors import ReportError
from reports.format.escape import one_line, shorten

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
MISTAKE = ReportError.exit_code
LONGEST_LINE = 900
"""A line of a mistake is cut there, whatever the file holds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the first word says, or makes a report where it is a file; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = commands().get(words[0]) if words else None
    try:
        said = command.run(words[1:]) if command else report(words)
    except ReportError as error:
        print(f"reports: {shorten(one_line(str(error)), LONGEST_LINE)}", file=sys.stderr)
        return error.exit_code
    except RecursionError:
        print("reports: a file is nested too deeply", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("reports: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    return _say(said)


def _say(text: str) -> int:
    """Prints what there is to say; all files are written by now."""
    try:
        if hasattr(sys.stdout, "reconfigure"):
            # A terminal that cannot show µ shows a question mark instead of a traceback.
            sys.stdout.reconfigure(errors="replace")
        print(text)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # The interpreter flushes once more at exit, which must find a descriptor that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # that one is `| head`, which has read enough
            print(f"reports: cannot print: {error.strerror}", file=sys.stderr)
            return MISTAKE
    return 0


if __name__ == "__main__":
    sys.exit(main())
