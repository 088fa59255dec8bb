"""What importing the package brings in."""

import subprocess
import sys
from pathlib import Path

import routers


def test_importing_it_brings_in_torch_and_the_standard_library_alone():
    # what torch itself imports is there before; the rest must be ours or Python's
    code = (
        "import sys, torch\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "import routers, routers.reference.check, routers.losses, routers.metrics\n"
        "after = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(after - before - set(sys.stdlib_module_names)))"
    )
    root = Path(routers.__file__).parents[1]
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['routers']"
