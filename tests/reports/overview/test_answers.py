import copy

from reports.overview.answers import answers, fastest, most_even, newcomers, quality_inside, time_inside
from reports.overview.headline import timed_input
from reports.tables.precision.headline import headline_input
from tests.reports.conftest import set_ratio, stat


def said(data):
    return {answer.question: answer for answer in answers(data)}


def only(document, *routers, **wanted):
    """Of these routers alone."""
    kept = [b for b in document["benchmarks"] if b["extra_info"]["router"] in routers]
    kept = [b for b in kept if all(b["extra_info"].get(name) == value for name, value in wanted.items())]
    return document | {"benchmarks": copy.deepcopy(kept)}


def test_the_fastest_is_one_among_equals(data):
    answer = said(data)["Fastest"]
    assert (answer.router, answer.section) == ("hadamard", "latency")
    # 0.6 · 412 µs
    assert answer.plain == (
        "Fastest: hadamard, 247 µs for 2,048 tokens, 0.600 [0.582, 0.618] times linear, of the routers that select 2 "
        "experts a token (“random” input). Nobody is level; next is linear, 412 µs. Not ranked, being other work: hash "
        "0.320 [0.310, 0.330] times linear (1 expert) and hadamard_unconstrained 0.620 [0.601, 0.639] times linear "
        "(8 experts)."
    )


def test_who_is_level_with_the_fastest_is_named(load, pristine):
    document = only(pristine, "linear", "mlp", scenario="router")
    for benchmark in document["benchmarks"]:
        if benchmark["extra_info"]["router"] == "mlp":
            set_ratio(benchmark["extra_info"], 0.99, 0.7, 1.4)
            benchmark["extra_info"]["timing"]["process_us"] = [
                0.99 * 412 * factor for factor in (0.8, 1.25, 1.0, 0.9, 1 / 0.9)
            ]
    data = load(document)
    assert "Not told apart from linear." in fastest(data).text
    # the same seeds for all, and the same loads: nothing is told
    assert "Not told apart from mlp." in most_even(data).text


def test_the_most_even_is_judged_by_seed(load, pristine):
    document = only(pristine, "linear", "mlp", "hash", scenario="router")
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        violation = {"linear": [0.08, 0.12, 0.16], "mlp": [0.90, 0.93, 0.95]}.get(info["router"])
        if violation and info["input"] == "contextual":
            info["behaviour"]["metrics"]["max_violation"] = stat(violation)
    answer = most_even(load(document))
    # (1 + 0.12) / 8 = 14.0 %, sd 0.04 / 8 = 0.5 %
    assert answer.router == "linear"
    assert answer.text.startswith(
        ": its busiest of 8 experts has 14.0 ± 0.5 % (sd over 3 seeds) of the assignments on “contextual”, "
        "where 12.5 % would be even. Nobody is level; next is mlp, 24.1 ± 0.3 %. Not ranked, being other work: hash "
    )


def test_who_is_shown_to_be_less_even_stands_before_who_is_not_told_apart(load, pristine):
    document = only(pristine, "linear", "attention", "mlp", "hadamard_unconstrained", scenario="router")
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        violation = {"linear": [0.08, 0.12, 0.16], "attention": [0.09, 0.13, 0.2], "mlp": [0.9, 0.93, 0.95]}
        if info["router"] in violation and info["input"] == "contextual":
            info["behaviour"]["metrics"]["max_violation"] = stat(violation[info["router"]])
    text = most_even(load(document)).text
    assert "Shown to be less even: mlp. Not told apart from attention. Not ranked" in text
    assert text.endswith("hadamard_unconstrained even because it selects all (8 experts).")


def test_time_inside_a_model_is_beside_its_own_gates(data, load, bench):
    answer = said(data)["Time inside a model (decode)"]
    assert answer.text.startswith(
        "Not told apart from the model's own gates, corrected for 9 comparisons: 0 of 7 routers that select 8 experts "
        "a token. Slower: linear"
    )
    assert "Slower: linear 1.20 [1.19, 1.21], attention" in answer.text
    level = only(bench, "stock", "linear", "mlp", scenario="decode")
    stock = level["benchmarks"][0]["extra_info"]["timing"]
    for benchmark in level["benchmarks"][1:]:
        benchmark["extra_info"]["timing"] = stock | {"ratio": {"estimate": 1.0, "low": 0.9, "high": 1.1}}
    assert time_inside(load(level)).text.startswith(
        "Not told apart from the model's own gates, corrected for 2 comparisons: all 2 routers that select 8 experts a "
        "token, at 1.00 times their time. Differences up to 2.0 % may stay hidden."
    )


def test_what_was_not_measured_has_a_command(load, pristine, pristine_language):
    data = load(pristine)
    assert time_inside(data).command == "pytest bench -k bench_language_model"
    assert quality_inside(data).command == (
        "python -m harness finetune --router linear --router attention --router mlp --control"
    )
    inside = load(pristine_language)
    assert fastest(inside).command == "pytest bench -k bench_router"
    assert most_even(inside).command == "pytest bench -k contextual"


def test_quality_is_that_of_the_better_start(tuned):
    answer = quality_inside(tuned)
    # distilled: 60 · 1.01 · (1 + 0.001 s) · 0.8 + 0.1 s of the seeds s = 0, 1, 2; the router's number adds 0.004 · 60
    assert (answer.router, answer.section) == ("linear", "fine-tuning")
    assert answer.text.startswith(" from the distilled start, perplexity 48.63 [48.26, 49.00] after fine-tuning; the ")
    assert "model's own gates, tuned likewise: 48.10. " in answer.text
    assert "next is attention, 48.82" in answer.text


def test_a_quick_fine_tuning_names_nobody(load, pristine_tuning):
    quick = pristine_tuning | {"settings": pristine_tuning["settings"] | {"quick": True}}
    assert quality_inside(load(quick)).text == "Nobody is named, because the fine-tuning is a quick run."


def test_against_the_paper_stands_what_it_contradicts(data):
    answer = said(data)["Against the paper"]
    assert answer.text == (
        "Of 34 numbers of arXiv 2506.16419 25 reproduced, 6 approximate and 3 not derivable; 8 more it leaves "
        "undefined. Claims about pretrained input, and for how many routers they hold: more polarised routing (some "
        "routers), more concentrated load (all routers) and larger output variance (all routers). 8 of 15 pairs of its "
        "routers stand in its order of latency, where chance has half of them. One contradiction matters: in the paper "
        "Hash takes 1,200 times as long as Linear, here 0.320 [0.310, 0.330] times."
    )


def test_without_hash_the_next_contradiction_is_named(load, pristine):
    data = load(only(pristine, "attention", "mlp"))
    text = said(data)["Against the paper"].text
    # the paper has 0.29 ms and 0.23 ms, these files 2.8 and 4.7 times linear
    assert text.endswith("in the paper Attention takes 1.26 times as long as MLP, here 0.596 times.")


def test_new_routers_and_missing_measurements_are_named(load, pristine):
    document = only(pristine, "linear", "hadamard")
    document["benchmarks"] = [b for b in document["benchmarks"] if b["name"] != "bench_token[random-hadamard]"]
    text = newcomers(load(document)).text
    assert text == "Not in the paper: hadamard; failed or left out, with the number of measurements: hadamard (1)."
    assert newcomers(load(only(pristine, "linear"))).text == "All are the paper's; none failed."


def test_an_incomplete_run_names_nobody(load, pristine):
    document = only(pristine, "linear", "mlp")
    document["study"] = document["study"] | {"planned": 999}
    found = said(load(document))
    for question in ("Fastest", "Most even on real text"):
        assert found[question].text.startswith("Nobody is named, because ")
    assert "none failed" not in found["New or failed routers"].text


def test_of_a_run_that_proves_nothing_nothing_is_answered(load, pristine):
    document = only(pristine, "linear", "mlp")
    document["study"] = document["study"] | {"preset": {"name": "smoke"}}
    (answer,) = answers(load(document))
    assert answer.plain == "Result: None: a smoke run proves that the parts work, and no more."


def test_one_router_and_forty_have_short_answers(load, many, pristine):
    crowd, alone = (said(load(each)) for each in (many, only(pristine, "linear", scenario="router")))
    assert max(len(answer.plain) for found in (crowd, alone) for answer in found.values()) < 420
    assert "There is no other to compare with." in alone["Fastest"].text
    assert "Not told apart from a_variant_of_some_length_2, " in crowd["Fastest"].text
    assert crowd["Fastest"].text.endswith(" and 13 more.")


def test_a_long_name_is_shortened_and_harmless(load, pristine):
    document = only(pristine, "linear", "mlp", scenario="router")
    for benchmark in document["benchmarks"]:
        if benchmark["extra_info"]["router"] == "mlp":
            benchmark["extra_info"]["router"] = "\u202e\x1b[31m" + "x" * 190
    plain = " ".join(answer.plain for answer in answers(load(document)))
    assert "x" * 41 not in plain
    assert not {"\u202e", "\x1b"} & set(plain)


def test_of_several_sizes_the_usual_one_stands_for_all(load, pristine):
    twin = next(b for b in pristine["benchmarks"] if b["name"] == "bench_router[random-linear]")
    document = pristine | {"benchmarks": [], "study": pristine["study"] | {"inputs": {}}}
    for tokens in (1, 64, 1024, 65536):
        name = f"random@T{tokens}"
        document["study"]["inputs"][name] = {"label": name, "description": name, "timed": True, "sizes": name[7:]}
        benchmark = copy.deepcopy(twin)
        info = benchmark["extra_info"]
        info |= {"input": name, "num_tokens": tokens, "batch_size": 1, "sequence_length": tokens}
        info.pop("figures")
        time = info["timing"]["us_per_call"]
        info["timing"] |= {"tokens_per_call": tokens, "ns_per_token": 1e3 * time / tokens}
        document["benchmarks"].append(benchmark)
    data = load(document)
    assert timed_input(data) == headline_input(data) == "random@T1024"
    assert "(“random@T1024” input)" in fastest(data).text
