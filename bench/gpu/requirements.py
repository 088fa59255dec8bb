"""What the command needs of the Python that runs it: nothing is installed, and a network is not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

TO_MEASURE = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark>=5.2",
    "cpuinfo": "py-cpuinfo",
    "psutil": "psutil",
    "filelock": "filelock",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
}
"""Module -> the package that brings it. Encoders and language models need more; random input does not."""
TO_COMPARE = {"transformers": "transformers"}
TO_TEST = {"hypothesis": "hypothesis"}
TO_REPORT = {"pydantic": "pydantic", "pandas": "pandas", "matplotlib": "matplotlib", "jinja2": "jinja2"}


def missing(modules: Mapping[str, str]) -> list[str]:
    """The packages whose modules cannot be found."""
    return [package for module, package in modules.items() if find_spec(module) is None]


def how_to_get(packages: list[str]) -> str:
    """For a message: two commands, the first of which may be run on another machine with the same Python."""
    named = " ".join(f"'{package}'" for package in packages)
    return f"pip install --target vendor {named}, then PYTHONPATH=vendor python -m bench.gpu"
