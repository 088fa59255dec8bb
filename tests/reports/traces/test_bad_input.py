"""A file that cannot be is one line that says where and why, and takes no memory."""

from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from reports.traces import Hints, RoutingTrace, TraceError, analyse, read_trace
from reports.traces.formats.beside import with_domains, with_mask
from tests.reports.traces.conftest import EXPERTS, LAYERS, TOKENS

HUGE = 10**12


def changed(selections, value, dtype=None):
    found = selections.astype(dtype or selections.dtype)
    found[17, 2, 1] = value
    return found


def same(selections):
    found = selections.copy()
    found[17, 2, 1] = found[17, 2, 0]
    return found


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda s: changed(s, EXPERTS), r"^x: token 17, layer 2, rank 1: expert 8, expected 0 to 7$"),
        (
            lambda s: changed(s, -1),
            r"^x: token 17, layer 2, rank 1: expert -1, expected 0 to 7 \(--empty-slots allows −1\)$",
        ),
        (lambda s: changed(s, -2), r"^x: token 17, layer 2, rank 1: expert -2, expected 0 to 7$"),
        (same, r"^x: token 17, layer 2: expert \d twice, expected K different ones$"),
        (lambda s: s.astype(float), r"^x: experts are float64, expected whole numbers$"),
        (lambda s: s[0], r"^x: experts are \(3, 2\), expected \(tokens, layers, K\)$"),
        (lambda s: s[:0], r"^x: experts are \(0, 3, 2\) \(tokens, layers, K\), which is empty$"),
    ],
)
def test_experts_that_cannot_be(selections, make, line):
    with pytest.raises(TraceError, match=line):
        analyse(RoutingTrace(make(selections), EXPERTS, source="x"))


def test_what_stands_beside_the_experts_is_checked(selections):
    weights = np.ones(selections.shape)
    weights[5, 1, 0] = np.nan
    with pytest.raises(
        TraceError, match=r"^the trace: token 5, layer 1, rank 0: weight nan, expected a finite number$"
    ):
        analyse(RoutingTrace(selections, EXPERTS, weights=weights))
    logits = np.zeros((TOKENS, LAYERS, EXPERTS))
    logits[3, 1, 4] = np.inf
    with pytest.raises(TraceError, match=r"^the trace: token 3, layer 1: logit inf, expected finite numbers$"):
        analyse(RoutingTrace(selections, EXPERTS, logits=logits))
    for name in ("mask", "domains", "steps", "token_ids"):
        with pytest.raises(TraceError, match=rf"{name} has the shape \(39,\), expected \(40,\), one value a token$"):
            RoutingTrace(selections, EXPERTS, **{name: np.ones(TOKENS - 1, dtype=int)})
    with pytest.raises(TraceError, match="the mask leaves no token"):
        analyse(RoutingTrace(selections, EXPERTS, mask=np.zeros(TOKENS, dtype=bool)))
    for name, wrong in (("mask", "true or false"), ("steps", "whole numbers"), ("token_ids", "whole numbers")):
        with pytest.raises(TraceError, match=rf"^the trace: {name} is float64, expected {wrong}$"):
            RoutingTrace(selections, EXPERTS, **{name: np.ones(TOKENS)})
    with pytest.raises(TraceError, match=r"^the trace: 5,000 layers, expected at most 4,096 in \(tokens, layers, K\)$"):
        RoutingTrace(np.zeros((1, 5000, 1), dtype=int), EXPERTS)
    with pytest.raises(TraceError, match=r"^the trace: the largest expert is 99,999, expected 0 to 4,095$"):
        analyse(RoutingTrace(np.full((2, 1, 1), 99_999)))
    with pytest.raises(TraceError, match="K is 2, expected at most the number of experts, 1"):
        RoutingTrace(selections, 1)
    with pytest.raises(TraceError, match=r"logits of layer 1 are \(40, 7\), expected \(tokens, experts\), \(40, 8\)$"):
        RoutingTrace(selections, logits=[np.zeros((TOKENS, 8)), np.zeros((TOKENS, 7)), np.zeros((TOKENS, 8))])
    many = RoutingTrace(np.concatenate([selections] * 3)[:100], EXPERTS, domains=np.arange(100))
    with pytest.raises(TraceError, match=r"^the trace: 100 different domains, expected at most 64$"):
        analyse(many)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_experts": 16}, r"^b: experts: 16, expected 8 as in a$"),
        ({"experts": slice(0, 1)}, r"^b: K: 1, expected 2 as in a$"),
        ({"layer_names": ("0", "1", "3")}, r"^b: layer 2 is called '3', expected '2' as in a$"),
    ],
)
def test_parts_that_disagree(selections, options, line):
    options = {"num_experts": EXPERTS} | options
    experts = selections[:, :, options.pop("experts", slice(None))]
    parts = [RoutingTrace(selections, EXPERTS, source="a"), RoutingTrace(experts, source="b", **options)]
    with pytest.raises(TraceError, match=line):
        analyse(parts)
    with pytest.raises(TraceError, match=line):
        analyse(parts[0], against=parts[1])


def test_another_trace_is_of_the_same_tokens(selections):
    trace = RoutingTrace(selections, EXPERTS, source="a", token_ids=np.arange(TOKENS))
    with pytest.raises(TraceError, match=r"^b: 39 tokens, expected 40 as in a$"):
        analyse(trace, against=RoutingTrace(selections[1:], EXPERTS, source="b"))
    other = RoutingTrace(selections, EXPERTS, source="b", token_ids=np.arange(TOKENS) * 2)
    with pytest.raises(TraceError, match=r"^b: token 1 has the id 2, expected 1 as in a: not the same text$"):
        analyse(trace, against=other)


def test_ranks_divide_the_experts(selections):
    with pytest.raises(TraceError, match=r"^ranks is 3, expected a divisor of the number of experts, 8$"):
        analyse(RoutingTrace(selections, EXPERTS), ranks=[2, 3])


def header(tensors, size):
    """A safetensors file whose header claims what is not there."""
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (header({"experts": {"dtype": "I16", "shape": [HUGE, 3, 2], "data_offsets": [0, 12 * HUGE]}}, 60), "cut off"),
        (
            header({"experts": {"dtype": "I16", "shape": [HUGE, 3, 2], "data_offsets": [0, 60]}}, 60),
            "there are 60: cut off",
        ),
        (
            header({"experts": {"dtype": "I16", "shape": [-1, -30], "data_offsets": [0, 60]}}, 60),
            "no whole numbers from 0",
        ),
        (
            header({"experts": {"dtype": "Q4", "shape": [3], "data_offsets": [0, 60]}}, 60),
            "dtype 'Q4', expected one of",
        ),
        (header({"experts": {"dtype": "I16"}}, 60), "no dtype, shape and two data_offsets"),
        (header(["experts"], 60), "its header is no object"),
        (HUGE.to_bytes(8, "little") + b"{}", "its header claims 1,000,000,000,000 bytes of 10"),
        (b"abc", "no safetensors file, or cut off"),
        (b"\x02\0\0\0\0\0\0\0{]", "its header is no JSON"),
    ],
)
def test_a_safetensors_header_is_not_believed(tmp_path, content, line):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=line):
        read_trace(path)


def false_npy(shape, size, descr="<i2"):
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(118 - len(head) % 64 + len(head) - 118 + 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(size)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (false_npy((HUGE, 3, 2), 60), r"takes 12,000,000,000,000 bytes, there are 60: cut off, or a false header"),
        (false_npy((10, 3, 2), 60), r"takes 120 bytes, there are 60: cut off"),
        (false_npy((1,), 8, "|O"), r"holds pickled objects, which are refused"),
        (b"\x93NUMPY\x01\x00", "no npy array, or cut off"),
        (b"\x80\x04}q\x00.", "no npy array, or cut off"),
    ],
)
def test_an_npy_header_is_not_believed(tmp_path, ending, content, line):
    path = tmp_path / f"t{ending}"
    path.write_bytes(content)
    if ending == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("routed_experts.npy", content)
    with pytest.raises(TraceError, match=line):
        read_trace(path, format="vllm")


def test_archives_that_are_none_and_pickles_are_refused(tmp_path, selections):
    np.savez(tmp_path / "whole.npz", routed_experts=selections)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    with pytest.raises(TraceError, match=r"^cut\.npz: no npz file, or cut off: "):
        read_trace(tmp_path / "cut.npz")
    (tmp_path / "t.npz").write_bytes(pickle.dumps({"experts": 1}))
    with pytest.raises(TraceError, match=r"^t\.npz: no npz file"):
        read_trace(tmp_path / "t.npz")
    np.savez(tmp_path / "objects.npz", routed_experts=np.array([None]))
    with pytest.raises(TraceError, match="holds pickled objects"):
        read_trace(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("t.csv", "token,layer,rank\n0,0,0\n", r"^t\.csv: no format that is known"),
        ("t.csv", "token,layer,rank,expert\n", r"^t\.csv: no row$"),
        ("t.csv", "token,layer,rank,expert\n0,0,0,1.5\n", r"^t\.csv: row 1: expert 1\.5, expected a whole number$"),
        ("t.csv", "token,layer,rank,expert\n0,0,0,x\n", r"^t\.csv: row 1: expert 'x', expected a number$"),
        ("t.csv", "token,layer,rank,expert\n0,0,0,nan\n", r"^t\.csv: row 1: expert nan, expected a finite number$"),
        ("t.csv", "token,layer,rank,expert\n0,0,0,1\n0,0,0,2\n", r"^t\.csv: token 0, layer 0, rank 0 stands 2 times$"),
        ("t.csv", "token,layer,rank,expert\n0,0,-1,1\n", r"^t\.csv: rank -1, expected 0 to K − 1$"),
        (
            "t.csv",
            f"token,layer,rank,expert\n0,0,{HUGE},1\n",
            r"^t\.csv: .* of 1 rows: nearly all slots would be empty",
        ),
        (
            "t.csv",
            "token,layer,rank,expert\n0,0,0,1,5\n",
            r"^t\.csv: rows have more cells than the first line has names$",
        ),
        ("t.csv", 'token,layer,rank,expert\n0,0,0,"1\n', r"^t\.csv: no CSV, or cut off: "),
        (
            "t.csv",
            "token,layer,rank,expert,step\n0,0,0,1,4\n0,1,0,1,5\n",
            r"row 1: step '4' of token 0, which has '5' elsewhere$",
        ),
        ("t.csv", "", r"^t\.csv: empty$"),
        ("t.jsonl", '{"token": 0, "layer": 0, "expert"', r"^t\.jsonl, line 1: no JSON, or cut off: "),
        ("t.jsonl", '{"token": 0, "layer": 0, "rank": 0, "expert": NaN}', r"^t\.jsonl, line 1: NaN, expected finite"),
        (
            "t.jsonl",
            '{"token": 0, "layer": 0, "rank": 0, "expert": [1]}',
            r"line 1: expert is \[1\], expected a number",
        ),
        (
            "t.jsonl",
            '{"token": 0, "layer": 0, "experts": [1]}\n{"token": 1}',
            r"line 2: not the fields of the rows before",
        ),
        ("t.jsonl", "[1]", r"^t\.jsonl, line 1: a list, expected an object$"),
        (
            "t.jsonl",
            '{"top_indices": [[0, 1], [2]], "step": 0, "layer": 0, "num_tokens": 2, "topk": 2}',
            r"one length each",
        ),
        (
            "t.jsonl",
            '{"top_indices": [[0, 1]], "step": 0, "layer": 0, "num_tokens": 2, "topk": 2}',
            r"\(1, 2\).*\(2, 2\)$",
        ),
        (
            "t.jsonl",
            '{"top_indices": [[0, 1]], "step": "a", "layer": 0}',
            r"line 1: step is 'a', expected a whole number",
        ),
        ("t.jsonl", '{"top_indices": [[0, 1.5]], "step": 0, "layer": 0, "num_tokens": 1, "topk": 2}', r"holds float64"),
        ("t.json", '{"choices": [{"routed_experts": "!"}]}', r"choices\[0\]\.routed_experts: no base64, or cut off$"),
        ("t.json", '{"choices": [{"routed_experts": "AAAA"}]}', r"no npy array, or cut off"),
        (
            "t.json",
            '{"choices": [{"routed_experts": null}]}',
            r"was the server started with --enable-return-routed-experts\?$",
        ),
        (
            "t.json",
            '{"routed_experts": {"data": "AAAA", "dtype": "int16", "shape": [9, 9, 9]}}',
            r"3 bytes, expected a shape",
        ),
        ("t.json", '{"meta_info": {"routed_experts": "AAA="}}', r"has 2 bytes, expected int32"),
        ("t.json", '{"meta_info": {"routed_experts": "AAAAAA=="}}', r"cannot be told, --layers does$"),
        ("t.json", "[[[0, 1], [1]]]", r"^t\.json: no lists of one length each, expected \(tokens, layers, K\)$"),
        ("t.bin", "x", r"^t\.bin: no format that is known: .*; --format names one$"),
        ("t.parquet", "x", r"^t\.parquet: no Parquet file$"),
    ],
)
def test_a_text_that_cannot_be(tmp_path, name, content, line):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TraceError, match=line):
        read_trace(tmp_path / name, hints=Hints(top_k=1))


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"expert\xff\xfe")
    with pytest.raises(TraceError, match=r"^t\.csv: no text in UTF-8"):
        read_trace(tmp_path / "t.csv")
    with pytest.raises(TraceError, match=r"^no\.csv: there is no such file$"):
        read_trace(tmp_path / "no.csv")


def test_sizes_that_file_and_caller_say_differently(selections, tmp_path):
    np.save(tmp_path / "t.npy", selections)
    for hints, line in ((Hints(top_k=3), "top_k is 2, asked for 3"), (Hints(layers=2), "layers is 3, asked for 2")):
        with pytest.raises(TraceError, match=rf"^t\.npy: {line}$"):
            read_trace(tmp_path / "t.npy", hints=hints)
    logits = {"layer.0": np.zeros((4, 8), np.float32), "layer.1": np.zeros((5, 8), np.float32)}
    safetensors.numpy.save_file(logits, tmp_path / "t.safetensors", {"top_k": "2"})
    with pytest.raises(
        TraceError, match=r"^t\.safetensors: layer 1 is \(5, 8\) \(tokens, experts\), expected \(4, 8\) as"
    ):
        read_trace(tmp_path / "t.safetensors")
    safetensors.numpy.save_file(
        {"layer.0": np.full((4, 8), np.nan, np.float32)}, tmp_path / "t.safetensors", {"top_k": "2"}
    )
    with pytest.raises(TraceError, match=r"token 0, layer 0: logit nan, expected finite numbers$"):
        read_trace(tmp_path / "t.safetensors")
    safetensors.numpy.save_file({"layer.0": np.zeros((4, 8), np.float32)}, tmp_path / "t.safetensors", {"top_k": "9"})
    with pytest.raises(TraceError, match=r"^t\.safetensors: top_k is 9, expected 1 to the number of experts, 8$"):
        read_trace(tmp_path / "t.safetensors")


def test_files_beside_a_trace(selections, tmp_path):
    parts = [RoutingTrace(selections[:15], EXPERTS), RoutingTrace(selections[15:], EXPERTS)]
    np.save(tmp_path / "mask.npy", np.arange(TOKENS) % 2)
    (tmp_path / "mask.txt").write_text("1\n0\n" * (TOKENS // 2))
    (tmp_path / "domains.json").write_text(json.dumps(["a", "b"] * (TOKENS // 2)))
    for name, expected in (("mask.npy", 1), ("mask.txt", 0)):
        found = np.concatenate([part.mask for part in with_mask(parts, tmp_path / name)])
        assert found.tolist() == [t % 2 == expected for t in range(TOKENS)]
    assert with_domains(parts, tmp_path / "domains.json")[1].domains[0] == "b"
    (tmp_path / "short.txt").write_text("1\n" * 9)
    with pytest.raises(TraceError, match=r"^short\.txt: 9 values, expected one for each of 40 tokens$"):
        with_mask(parts, tmp_path / "short.txt")
    (tmp_path / "mask.txt").write_text("1\n2\n" * (TOKENS // 2))
    with pytest.raises(TraceError, match=r"^mask\.txt: token 1: '2', expected 0 or 1$"):
        with_mask(parts, tmp_path / "mask.txt")
