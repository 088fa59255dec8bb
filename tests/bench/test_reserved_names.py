"""What stands for something else where routers are named is no router's name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from bench.language_model import shared_weights
from bench.router import checked
from harness.finetuning import command
from harness.replacement.moe_blocks import STOCK
from routers import list_routers, register_router, registry
from routers.scorers.linear import LinearRouter


@pytest.mark.parametrize("name", [STOCK, command.ALL, shared_weights.TWIN, checked.TWIN])
def test_no_router_can_have_it(name: str) -> None:
    with pytest.raises(ValueError, match=f"router name '{name}' "):
        register_router(name)(LinearRouter)


def test_an_installed_packages_router_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = EntryPoint(STOCK, "some.module:Stock", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [stock])
    with pytest.raises(
        ValueError, match=r"'stock' is reserved.* \(entry point some.module:Stock of an installed package"
    ):
        list_routers()
