"""The commands of the harness: python -m harness finetune, python -m harness trace."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

MISTAKE = 2
COMMANDS = {
    "finetune": "fine-tune a Mixture-of-Experts language model with its routers replaced",
    "trace": "record which experts a Mixture-of-Experts language model sends each token of a text to",
}
_MODULES = {"finetune": "harness.finetuning.command", "trace": "harness.tracing.command"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _MODULES:
        # Imported here: what it needs takes seconds.
        code: int = import_module(_MODULES[words[0]]).main(words[1:])
        return code
    asked = words[:1] in (["-h"], ["--help"])
    if words and not asked:
        print(f"harness: no command {words[0][:40]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return MISTAKE
    print(_help(), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else MISTAKE


def _help() -> str:
    commands = "\n".join(f"  {name:10} {purpose}" for name, purpose in COMMANDS.items())
    return (
        "usage: python -m harness COMMAND [options]\n\nRouters in pretrained models.\n\n"
        f"commands, each with a --help of its own:\n{commands}"
    )


if __name__ == "__main__":
    sys.exit(main())
