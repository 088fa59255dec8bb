"""Puts routers into real models: where weights and text come from, and how a layer of theirs becomes sparse.

`harness.record_routing` records which experts a model sends each token to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.tracing.record import record_routing

__all__ = ["record_routing"]


def __getattr__(name: str) -> Any:
    # When it is asked for: whoever imports a part of the harness does not wait for torch.
    if name == "record_routing":
        from harness.tracing.record import record_routing

        return record_routing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
