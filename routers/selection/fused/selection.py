"""What the kernel made of logits. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

from routers.selection.selection import UnreadSelection


class FusedSelection(UnreadSelection):
    """The kernel's selection, which has no scores: it keeps them in registers."""
