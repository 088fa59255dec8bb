"""The commands of the harness: python -m harness finetune."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] != ["finetune"]:
        print("usage: python -m harness finetune --help", file=sys.stderr)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    # Imported here: what it needs takes seconds.
    from harness.finetuning.command import main as finetune

    return finetune(words[1:])


if __name__ == "__main__":
    sys.exit(main())
