"""What is said where the extra is not installed; it is not imported here, see tests/gptq."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from harness.assets.errors import AssetError
from harness.language_models.gptq.libraries import LIBRARIES, import_libraries


@pytest.mark.parametrize("missing", LIBRARIES)
def test_a_library_that_is_not_installed_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: SimpleNamespace() for name in LIBRARIES if name != missing}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    with pytest.raises(AssetError) as refused:
        import_libraries("models/chat")
    expected = f"models/chat: GPTQ needs {missing}; pip install -e '.[gptq]' -c constraints-gptq.txt"
    assert str(refused.value) == expected
