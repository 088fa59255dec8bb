"""The errors of models and texts that cannot be used."""

from __future__ import annotations


class AssetError(Exception):
    """An asset cannot be had; the message is one line that names it and says what was expected."""


class RefusedAssetError(AssetError):
    """A download is not what was pinned. No other source is tried after it: somebody should look."""
