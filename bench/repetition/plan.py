"""What a fresh process has to know to measure its blocks: written by the run, read by the process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.presets import Preset
from bench.timing.group import GroupSpec
from routers import get_router_class, list_routers, register_from_path, register_router

FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """The run, as far as its processes are concerned.

    Attributes:
        preset: sizes.
        device: "cpu" or "cuda".
        threads: of torch's operators.
        clock: what a duration is, and
        l2: in which state a call finds the cache, as `ClockMode.parse` reads them.
        routers: name -> where its class is, as `--router` takes it; of those that are not the suite's own.
        language_model: {"names", "identity"} of the one that was checked, or None.
        groups: what is measured.
    """

    preset: Preset
    device: str
    threads: int
    clock: str
    l2: str
    routers: dict[str, str]
    language_model: dict[str, Any] | None
    groups: tuple[GroupSpec, ...]

    def write(self, folder: Path) -> None:
        """Into the folder that a process is started with."""
        (folder / FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """As `write` has left it."""
        fields = json.loads((folder / FILE).read_text())
        preset = fields.pop("preset")
        return cls(
            preset=Preset.from_dict(preset),
            groups=tuple(
                GroupSpec(**group | {name: tuple(group[name]) for name in ("routers", "floors")})
                for group in fields.pop("groups")
            ),
            **fields,
        )

    def register(self, name: str) -> None:
        """Make a router known that the suite does not bring; any other is known.

        Raises:
            ValueError: it cannot be imported here.
        """
        if name in self.routers and name not in list_routers():
            try:
                found = register_from_path(self.routers[name])
            except ValueError:
                if name not in list_routers():  # as of a class inside a function, which the file itself has registered
                    raise
            else:
                register_router(name)(get_router_class(found))  # in the run it may have got another name than here


def router_sources(names: Sequence[str]) -> dict[str, str]:
    """Name -> where the class of a registered router is: its module where it is a package's, otherwise its file."""
    sources = {}
    for name in names:
        router_class = get_router_class(name)
        module, package = router_class.__module__, router_class.__module__.partition(".")[0]
        if package != "routers":
            location = module if "." in module else str(Path(inspect.getfile(router_class)).resolve())
            sources[name] = f"{location}:{router_class.__qualname__}"
    return sources
