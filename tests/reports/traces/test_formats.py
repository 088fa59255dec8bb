"""Every format is read: as the real library writes it where it is installed, as it is documented elsewhere."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from reports.traces import Hints, TraceError, analyse, read_trace
from reports.traces.formats.read import formats
from reports.traces.selection import top_k
from tests.reports.traces.conftest import EXPERTS, LAYERS, TOKENS, TOP_K


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def rows(selections, **more):
    return [
        {"token": t, "layer": layer, "rank": k, "expert": int(selections[t, layer, k])}
        | {n: f(t) for n, f in more.items()}
        for t in range(TOKENS)
        for layer in range(LAYERS)
        for k in range(TOP_K)
    ]


def csv(records):
    return "\n".join([",".join(records[0]), *(",".join(map(str, each.values())) for each in records)]) + "\n"


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return base64.b64encode(buffer.getvalue()).decode()


def raw(values, dtype):
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json"])
def test_rows_of_decisions(selections, tmp_path, ending):
    records = rows(selections, step=lambda t: t // 10, domain=lambda t: "NA" if t % 2 else "fr", weight=lambda t: 0.25)
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = [records[each] for each in order]
    content = {
        ".csv": csv(shuffled),
        ".tsv": csv(shuffled).replace(",", "\t"),
        ".jsonl": "\n".join(map(json.dumps, shuffled)),
        ".json": json.dumps(shuffled),
    }[ending]
    trace = read_trace(text(tmp_path / f"trace{ending}", content))
    assert np.array_equal(trace.experts, selections)
    assert trace.steps.tolist() == [t // 10 for t in range(TOKENS)]
    assert trace.domains.tolist() == ["NA" if t % 2 else "fr" for t in range(TOKENS)]
    assert (trace.weights == 0.25).all()
    assert trace.layer_names == ("0", "1", "2")


def test_rows_of_tokens_with_lists(selections, tmp_path):
    lines = [
        {"token": t, "layer": f"l{layer}", "experts": selections[t, layer].tolist(), "weights": [0.5, 0.25]}
        for t in range(TOKENS)
        for layer in range(LAYERS)
    ]
    trace = read_trace(text(tmp_path / "trace.jsonl", "\n".join(map(json.dumps, lines))))
    assert np.array_equal(trace.experts, selections)
    assert trace.layer_names == ("l0", "l1", "l2")
    assert trace.weights[0, 0].tolist() == [0.5, 0.25]


def test_layers_by_number_stand_in_order_and_k_is_a_rank(tmp_path):
    content = "token,layer,k,expert\n7,10,0,1\n7,2,0,3\n"
    trace = read_trace(text(tmp_path / "trace.csv", content))
    assert trace.layer_names == ("2", "10")
    assert trace.experts.tolist() == [[[3], [1]]]


def test_a_token_may_have_fewer_experts_where_the_caller_says_so(tmp_path):
    path = text(tmp_path / "trace.csv", "token,layer,rank,expert\n0,0,0,1\n0,0,1,2\n1,0,0,2\n")
    with pytest.raises(TraceError, match=r"trace\.csv: token 1, layer 0, rank 1 is missing: cut off, or K disagrees"):
        read_trace(path)
    assert read_trace(path, hints=Hints(empty_slots=True)).experts.tolist() == [[[1, 2]], [[2, -1]]]


def test_megatrons_trace(selections, tmp_path):
    """Two steps, the second in two microbatches, and a layer that predicts ahead with the number of another one."""
    lines = []
    for step, first, last in ((0, 0, 16), (1, 16, 24), (1, 24, 40)):
        for layer, (block, number, ahead) in enumerate((("decoder", 3, None), ("decoder", 4, None), ("mtp", 3, 0))):
            record = {"step": step, "stage": "pre_dispatch", "block": block, "layer": number, "rank": 0}
            record |= {} if ahead is None else {"mtp_idx": ahead}
            lines.append(
                record
                | {"num_tokens": last - first, "topk": TOP_K, "top_indices": selections[first:last, layer].tolist()}
            )
    trace = read_trace(text(tmp_path / "router_trace_rank0.jsonl", "\n".join(map(json.dumps, lines))))
    assert np.array_equal(trace.experts, selections)
    assert trace.layer_names == ("decoder 3", "decoder 4", "mtp 0.3")
    assert trace.steps.tolist() == [0] * 16 + [1] * 24
    with pytest.raises(
        TraceError, match=r"decoder 4 has 24 tokens in its steps, expected those of decoder 3, 40: cut off"
    ):
        read_trace(text(tmp_path / "cut.jsonl", "\n".join(map(json.dumps, lines[:-2]))))


def test_megatrons_log_of_tokens_per_expert(tmp_path):
    """Two ranks with three experts each; two iterations of two microbatches; a layer that predicts ahead."""
    load = np.random.default_rng(0).integers(0, 50, size=(4, 2, 6))
    for rank in range(2):
        of_rank = load[:, :, 3 * rank : 3 * rank + 3]
        lines = [
            {"iter": step, "layer": 1, **block, "tpe": of_rank[2 * place : 2 * place + 2, layer].tolist()}
            for place, step in enumerate((100, 200))
            for layer, block in enumerate(({"block": "decoder"}, {"block": "mtp", "mtp_idx": 0}))
        ]
        text(tmp_path / f"rank{rank}.jsonl", "\n".join(map(json.dumps, lines)))
    parts = [read_trace(tmp_path / f"rank{rank}.jsonl") for rank in range(2)]
    found = analyse(parts, ranks=[2])
    assert found.layer_names == ("decoder 1", "mtp 0.1")
    assert found.load.tolist() == load.sum(axis=0).tolist()
    by_rank = load.sum(axis=0).reshape(2, 2, 3).sum(axis=-1)
    np.testing.assert_allclose(found.rank_imbalance[2], by_rank.max(axis=1) / by_rank.mean(axis=1))
    assert found.drift.labels == (100, 200)
    assert (found.num_tokens, found.pairs, found.agreement) == (None, None, None)
    with pytest.raises(TraceError, match=r"^rank0\.jsonl: counts without tokens stand beside no other trace$"):
        analyse(parts, against=parts)
    text(tmp_path / "cut.jsonl", "\n".join(map(json.dumps, lines[:-1])))
    with pytest.raises(
        TraceError, match=r"^cut\.jsonl: mtp 0\.1 has 2 microbatches in its iterations, .*, 4: cut off\?$"
    ):
        read_trace(tmp_path / "cut.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {"iter": 1, "layer": 0, "tpe": [[1, -2]]},
            r"record 0, layer decoder 0, expert 1: -2 assignments, expected at",
        ),
        ({"iter": 1, "layer": 0, "tpe": [[1, 2], [3]]}, r"line 1: tpe: no lists of one length each"),
        ({"iter": "1", "layer": 0, "tpe": [[1]]}, r"line 1: iter is '1', expected a whole number from 0"),
        ({"iter": 1, "tpe": [[1]]}, r"line 1: layer is 'None', expected a whole number from 0"),
    ],
)
def test_counts_that_cannot_be(tmp_path, line, message):
    with pytest.raises(TraceError, match=message):
        read_trace(text(tmp_path / "rank0.jsonl", json.dumps(line)))


def test_vllms_arrays(selections, tmp_path):
    np.save(tmp_path / "routed.npy", selections.astype(np.int16))
    assert np.array_equal(read_trace(tmp_path / "routed.npy").experts, selections)
    np.savez(tmp_path / "routed.npz", routed_experts=selections[9:], prompt_routed_experts=selections[:9])
    assert np.array_equal(read_trace(tmp_path / "routed.npz").experts, selections)
    np.savez_compressed(tmp_path / "small.npz", routed_experts=selections.astype(np.uint8))
    assert np.array_equal(read_trace(tmp_path / "small.npz").experts, selections)
    path = text(tmp_path / "lists.json", json.dumps(selections.tolist()))
    trace = read_trace(path, hints=Hints(num_experts=EXPERTS))
    assert np.array_equal(trace.experts, selections)
    assert analyse(trace).num_experts_known


@pytest.mark.parametrize(
    "encode",
    [
        lambda values: values.tolist(),
        lambda values: npy(values.astype(np.uint8)),
        lambda values: {
            "encoding": "base64",
            "dtype": "int16",
            "shape": list(values.shape),
            "data": raw(values, "<i2"),
        },
    ],
    ids=["lists", "npy", "bytes"],
)
def test_vllms_responses(selections, tmp_path, encode):
    responses = [
        {
            "id": "a",
            "prompt_routed_experts": encode(selections[:5]),
            "choices": [{"routed_experts": encode(selections[5:9])}],
        },
        {"id": "b", "choices": [{"index": 0, "routed_experts": encode(selections[9:])}]},
    ]
    trace = read_trace(text(tmp_path / "responses.jsonl", "\n".join(map(json.dumps, responses))))
    assert np.array_equal(trace.experts, selections)
    one = responses[0] | {"prompt_routed_experts": None}
    trace = read_trace(text(tmp_path / "response.json", json.dumps(one)))
    assert np.array_equal(trace.experts, selections[5:9])


def test_places_of_dense_layers_are_left_out(selections, tmp_path):
    dense = np.insert(selections, 1, 0, axis=1)
    np.save(tmp_path / "routed.npy", dense.astype(np.int32))
    trace = read_trace(tmp_path / "routed.npy")
    assert np.array_equal(trace.experts, selections)
    assert trace.layer_names == ("0", "2", "3")


def test_sglangs_responses(selections, tmp_path):
    with_dense = np.insert(selections, 0, -1, axis=1)
    responses = [
        {"text": "", "meta_info": {"prompt_tokens": p, "completion_tokens": c, "routed_experts": raw(some, "<i4")}}
        for p, c, some in ((4, 7, with_dense[:10]), (1, 30, with_dense[10:]))
    ]
    path = text(tmp_path / "responses.json", json.dumps(responses))
    trace = read_trace(path, hints=Hints(top_k=TOP_K))
    assert np.array_equal(trace.experts, selections)
    assert trace.layer_names == ("1", "2", "3")
    assert np.array_equal(read_trace(path, hints=Hints(top_k=TOP_K, layers=LAYERS + 1)).experts, selections)
    with pytest.raises(TraceError, match="SGLang does not say how many experts a token selects, --top-k does"):
        read_trace(path)


@pytest.fixture(scope="module")
def routed():
    """A tiny Mixtral with 4 layers, and what it gives for two sequences."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 50, "num_attention_heads": 2}
    config = MixtralConfig(
        num_hidden_layers=4, num_key_value_heads=2, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K, **sizes
    )
    with torch.no_grad():
        return MixtralForCausalLM(config).eval()(torch.randint(50, (2, 12)), output_router_logits=True).router_logits


def test_router_logits_of_transformers(routed, tmp_path):
    expected = np.stack([each.topk(TOP_K).indices.numpy() for each in routed], axis=1)
    named = {f"router_logits.{layer}": each.contiguous() for layer, each in enumerate(routed)}
    safetensors.torch.save_file(named, tmp_path / "t.safetensors", {"top_k": str(TOP_K)})
    np.savez(tmp_path / "t.npz", top_k=TOP_K, **{f"layer_{layer}": each.numpy() for layer, each in enumerate(routed)})
    np.savez(tmp_path / "stacked.npz", router_logits=torch.stack(routed).numpy())
    for name, hints in (("t.safetensors", None), ("t.npz", None), ("stacked.npz", Hints(top_k=TOP_K))):
        trace = read_trace(tmp_path / name, hints=hints)
        assert np.array_equal(trace.experts, expected), name
        assert trace.num_experts == EXPERTS
    with pytest.raises(TraceError, match="logits do not say how many experts a token selects, --top-k does"):
        read_trace(tmp_path / "stacked.npz")
    with pytest.raises(
        TraceError, match="'deepseek_v3' cannot be carried out on logits alone, expected softmax or sigmoid"
    ):
        read_trace(tmp_path / "t.npz", hints=Hints(selection="deepseek_v3"))


def test_bfloat16_is_read_as_torch_wrote_it(routed, tmp_path):
    half = {f"layer.{layer}": each.bfloat16().view(2, 12, EXPERTS) for layer, each in enumerate(routed)}
    safetensors.torch.save_file(half, tmp_path / "t.safetensors", {"top_k": str(TOP_K)})
    trace = read_trace(tmp_path / "t.safetensors")
    for layer, values in enumerate(half.values()):
        assert np.array_equal(trace.logits[layer][:], values.float().flatten(0, 1).numpy())
    assert analyse(trace).num_tokens == 24


def test_the_k_largest_come_largest_first():
    logits = np.array([[0.1, 3.0, -1.0, 2.0], [4.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    assert top_k(logits, 2).tolist() == [[1, 3], [0, 3]]
    assert top_k(logits, 4).tolist() == [[1, 3, 0, 2], [0, 3, 2, 1]]


def test_what_record_routing_writes_may_be_npz_too(selections, tmp_path):
    metadata = {"format": "moe-router-bench/routing-trace", "version": "1", "num_experts": "8", "domains": ["x", "y"]}
    np.savez(
        tmp_path / "t.npz",
        experts=selections,
        domains=np.arange(TOKENS) % 2,
        steps=np.arange(TOKENS),
        metadata=json.dumps(metadata | {"layer_names": ["a", "b", "c"]}),
    )
    trace = read_trace(tmp_path / "t.npz")
    assert trace.domains.tolist() == ["x", "y"] * (TOKENS // 2)
    assert (trace.num_experts, trace.layer_names) == (8, ("a", "b", "c"))


def test_a_format_is_forced_by_its_name(selections, tmp_path):
    np.savez(tmp_path / "t.npz", routed_experts=selections)
    assert read_trace(tmp_path / "t.npz", format="vllm").source == "t.npz"
    with pytest.raises(TraceError, match="metadata says no format"):
        read_trace(tmp_path / "t.npz", format="recorded")
    with pytest.raises(TraceError, match=f"unknown format 'x'; there are: {', '.join(formats())}"):
        read_trace(tmp_path / "t.npz", format="x")
