"""python -m bench.peers."""

from __future__ import annotations

import sys

from bench.peers.command import main

if __name__ == "__main__":
    sys.exit(main())
