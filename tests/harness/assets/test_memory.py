from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import save_file

from harness.assets import memory
from harness.assets.errors import AssetError
from harness.assets.memory import StoredTensor, available_memory, check_memory, required_memory, stored_tensors


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """8 GB available and no control group; its directory for one."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def test_headers_of_all_files_are_read(tmp_path: Path) -> None:
    save_file({"b": torch.zeros(2, 3)}, tmp_path / "1.safetensors", metadata={"format": "pt"})
    save_file({"a": torch.zeros(4, dtype=torch.bfloat16), "e": torch.zeros(0)}, tmp_path / "2.safetensors")
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in stored_tensors(tmp_path)} == {
        "b": ("F32", (2, 3)),
        "a": ("BF16", (4,)),
        "e": ("F32", (0,)),
    }


def entry(content: object) -> bytes:
    """A file without data, and its one tensor's entry in the header."""
    header = json.dumps({"a": content}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header cannot be read"),
        (b"\x80\x04pickle", "its header cannot be read"),
        (struct.pack("<Q", 1 << 62) + b"{}", "it would be 4611686018427387904 bytes long, the file has 10"),
        (struct.pack("<Q", 2) + b"[]", "its header cannot be read"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "its header cannot be read"),
        (entry({"shape": [0], "data_offsets": [0, 0]}), r"its header cannot be read \(a: it has no dtype\)"),
        (entry({"dtype": "F32", "data_offsets": [0, 0]}), r"its header cannot be read \(a: it has no shape\)"),
        (entry({"dtype": 1, "shape": [0], "data_offsets": [0, 0]}), r"a: its dtype is 1\)"),
        (entry({"dtype": "F32", "shape": ["x"], "data_offsets": [0, 0]}), r"a: its shape is \['x'\]\)"),
        (entry({"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}), r"a: its shape is \[-1\]\)"),
        (entry({"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}), r"a: its shape is 3\)"),
        (entry({"dtype": "F32", "shape": [], "data_offsets": [0]}), r"a: its data_offsets are \[0\]\)"),
        (entry({"dtype": "F32", "shape": [], "data_offsets": [0, "9"]}), r"a: its data_offsets are \[0, '9'\]\)"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "its header cannot be read"),
    ],
    ids=[
        *("empty", "pickle", "endless", "list", "number", "no dtype", "no shape"),
        *("dtype", "words", "negative", "no list", "one offset", "offsets of words", "deep"),
    ],
)
def test_what_is_no_safetensors_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(AssetError, match=message) as caught:
        stored_tensors(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "model.safetensors") in str(caught.value)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path: Path, change: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(9)}, path)
    whole = path.read_bytes()
    path.write_bytes((whole + b"?")[: len(whole) + change])
    with pytest.raises(AssetError, match=rf"truncated or corrupt, it has {len(whole) + change} bytes .* {len(whole)}$"):
        stored_tensors(tmp_path)


def test_floats_are_counted_as_what_they_become_and_integers_as_they_are() -> None:
    tensors = [
        StoredTensor("embedding", "BF16", (10, 4)),
        StoredTensor("scale", "F16", (5,)),
        StoredTensor("qweight", "I32", (3, 3)),
        StoredTensor("mask", "BOOL", (7,)),
        StoredTensor("step", "I64", ()),
    ]
    assert required_memory(tensors, torch.float32) == 45 * 4 + 9 * 4 + 7 + 8
    assert required_memory(tensors, torch.bfloat16) == 45 * 2 + 9 * 4 + 7 + 8


@pytest.mark.usefixtures("machine")
def test_what_cannot_fit_is_refused_with_both_figures() -> None:
    qwen = [StoredTensor("weights", "BF16", (14_315_784_192,))]
    with pytest.raises(
        AssetError, match=r"^qwen: its weights need 57\.3 GB of memory in float32, 8\.0 GB are available$"
    ):
        check_memory("qwen", qwen, torch.float32)
    check_memory("small", [StoredTensor("weights", "BF16", (1_000_000_000,))], torch.float32)


def test_the_limit_of_a_container_counts(machine: Path) -> None:
    assert available_memory() == 8_000_000_000
    (machine / "memory.max").write_text("3000000000\n")
    (machine / "memory.current").write_text("1000000000\n")
    assert available_memory() == 2_000_000_000
    (machine / "memory.max").write_text("max\n")
    assert available_memory() == 8_000_000_000


def test_what_a_container_keeps_of_files_can_be_had(machine: Path) -> None:
    (machine / "memory.max").write_text("3000000000\n")
    (machine / "memory.current").write_text("2900000000\n")
    (machine / "memory.stat").write_text(
        "anon 300000000\nfile 2600000000\nshmem 600000000\ninactive_file 1500000000\nactive_file 500000000\n"
    )
    assert available_memory() == 2_100_000_000
    (machine / "memory.stat").write_text("anon 300000000\n")
    assert available_memory() == 100_000_000


def test_a_link_to_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(AssetError, match=r"model\.safetensors: expected a safetensors file, its header cannot be read"):
        stored_tensors(tmp_path)
