"""python -m bench.gate."""

from __future__ import annotations

import sys
import traceback

BROKEN = 2


def run() -> int:
    """The command, if this checkout's code can be imported; a traceback's exit code, 1, would read as a regression."""
    try:
        from bench.gate.command import main
    except Exception as error:  # the checkout is a user's, and may be broken in any way
        print(f"gate: the checkout that it runs from does not import: {type(error).__name__}: {error}", file=sys.stderr)
        return BROKEN
    try:
        return main()
    except Exception:  # the gate's own fault, shown in full; it has not judged anything
        traceback.print_exc()
        return BROKEN


if __name__ == "__main__":
    sys.exit(run())
