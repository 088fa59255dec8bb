"""The gate on this suite with a slower router planted, again and again: how it ends, and after how long.

    python tests/bench/gate/planted.py sleep:0.08 --runs 10
    python tests/bench/gate/planted.py times:1000 --runs 10 --select "bench_router and linear"

`sleep:S` sleeps so many seconds in every call of the linear router, `times:N` makes it N times as slow; `none` is equal
code. Options after the plant, but `--runs`, are the gate's. It works on the last commit, in a clone that goes then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROUTER = Path("routers", "scorers", "linear.py")
PLANT = """

def _slower(original, sleep_s, times):
    import time

    def compute_router_logits(self, hidden_states):
        began = time.perf_counter()
        logits = original(self, hidden_states)
        now = time.perf_counter()
        end = now + (times - 1) * (now - began)
        time.sleep(sleep_s)
        while time.perf_counter() < end:
            pass
        return logits

    return compute_router_logits


LinearRouter.compute_router_logits = _slower(LinearRouter.compute_router_logits, {sleep_s}, {times})
"""


def plant(text: str) -> str:
    """What is appended to the router's file."""
    kind, _, amount = text.partition(":")
    if kind == "none":
        return "\n# as ever\n"
    return PLANT.format(
        sleep_s=float(amount) if kind == "sleep" else 0.0, times=float(amount) if kind == "times" else 1.0
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plant", metavar="sleep:S|times:N|none")
    parser.add_argument("--runs", type=int, default=1)
    options, of_the_gate = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        with (clone / ROUTER).open("a") as file:
            file.write(plant(options.plant))
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@nowhere"]
        subprocess.run(["git", *identity, "commit", "--quiet", "--all", "--message", "planted"], cwd=clone, check=True)
        codes: Counter[int] = Counter()
        for number in range(options.runs):
            began = time.monotonic()
            command = [sys.executable, "-m", "bench.gate", "HEAD~1", *of_the_gate]
            done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
            codes[done.returncode] += 1
            last, result = (done.stdout or done.stderr).split("\n")[-2:-1], clone / "build" / "gate.json"
            rows = json.loads(result.read_text())["rows"] if result.exists() else []
            verdicts = dict(Counter(row["verdict"] for row in rows if row["router"] == "linear"))
            print(
                f"{number + 1}: exit {done.returncode}, {time.monotonic() - began:.0f} s, linear {verdicts}: {last}",
                flush=True,
            )
            result.unlink(missing_ok=True)
    print(f"{options.plant}: exit codes {dict(codes)}")


if __name__ == "__main__":
    main()
