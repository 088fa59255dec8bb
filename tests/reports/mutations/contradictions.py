"""Files that contradict themselves: well-formed values of the right types, each breaking one rule and no other.

A generator changes a good document in place; its name is the rule's. Whoever adds a rule adds its generator here.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.reports.conftest import set_processes, stat

Generator = Callable[[Any, Any], None]
CONTRADICTIONS: dict[str, list[tuple[Generator, str]]] = {}
"""Kind of file -> its generators, with a piece of the line that refuses what they make.

`sample`: of the benchmarks of routers alone.
"""

factors = st.floats(1.02, 50)


def breaks(kind: str, words: str) -> Callable[[Generator], Generator]:
    """A decorator that makes a generator known."""

    def register(generator: Generator) -> Generator:
        CONTRADICTIONS.setdefault(kind, []).append((generator, words))
        return generator

    return register


def entry(draw, document, **wanted):
    """The `extra_info` of a benchmark that has these values; None stands for any value but null."""
    infos = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    fitting = [
        info
        for info in infos
        if all(info.get(name) == value if value is not None else info.get(name) for name, value in wanted.items())
    ]
    return draw(st.sampled_from(fitting))


def a_stat(draw, document):
    """One quantity over the seeds, of a metric or of a layer's output."""
    behaviour = entry(draw, document, behaviour=None)["behaviour"]
    stats = [each for each in behaviour["metrics"].values() if None not in each["values"]]
    stats += [layer["output_std"] for layer in behaviour["layer"].values()]
    return draw(st.sampled_from(stats))


@breaks("bench", "its interval")
def interval_upside_down(draw, document):
    ratio = entry(draw, document)["timing"][draw(st.sampled_from(("ratio", "noise_floor")))]
    ratio["low"], ratio["high"] = ratio["high"] * draw(factors), ratio["low"]


@breaks("bench", "estimate is")
def estimate_outside_its_interval(draw, document):
    ratio = entry(draw, document)["timing"][draw(st.sampled_from(("ratio", "noise_floor")))]
    factor = draw(factors)
    ratio["estimate"] = draw(st.sampled_from((ratio["high"] * factor, ratio["low"] / factor)))


@breaks("bench", "the baseline's ratio to itself")
def baseline_other_than_itself(draw, document):
    infos = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    info = draw(st.sampled_from([info for info in infos if info["router"] == info["timing"]["baseline"]]))
    factor = draw(factors)
    info["timing"]["ratio"] = {"estimate": factor, "low": factor * 0.99, "high": factor * 1.01}


@breaks("bench", "timing.us_per_call is")
def call_other_than_its_processes(draw, document):
    info = entry(draw, document)
    processes, factor = info["timing"]["process_us"], draw(factors)
    set_processes(info, [us * factor for us in processes])
    info["timing"]["process_us"] = processes


@breaks("bench", "us_per_call over the baseline's")
def ratio_other_than_that_of_times(draw, document):
    info = entry(draw, document, router="mlp")
    factor = draw(factors | st.floats(0.1, 0.98))
    info["timing"]["ratio"] = {name: value * factor for name, value in info["timing"]["ratio"].items()}


@breaks("sample", "study.noise's")
def noise_other_than_the_groups(draw, document):
    info = entry(draw, document, scenario="router")
    name = draw(st.sampled_from(("resolution", "noise_floor")))
    if name == "resolution":
        info["timing"]["resolution"] *= draw(factors)
    else:
        info["timing"]["noise_floor"]["estimate"] = draw(st.floats(0.994, 1.003))


@breaks("bench", "above num_tokens")
def call_of_more_tokens_than_there_are(draw, document):
    info = entry(draw, document)
    handled = (info["num_tokens"] or 0) + draw(st.integers(1, 1000))
    info["timing"] |= {"tokens_per_call": handled, "ns_per_token": 1e3 * info["timing"]["us_per_call"] / handled}


@breaks("bench", "timing.ns_per_token is")
def time_per_token_other_than_time_over_tokens(draw, document):
    timing = entry(draw, document, num_tokens=None)["timing"]
    timing["ns_per_token"] *= draw(st.sampled_from((0.001, 0.5, 2, 1000)) | factors)


@breaks("bench", "the number of process_us")
def other_processes_than_repetitions(draw, document):
    info = entry(draw, document)
    info["timing"]["process_us"] = info["timing"]["process_us"][:1] * draw(st.sampled_from((1, 4, 6, 50)))


@breaks("bench", "gflops is below 0")
def negative_work(draw, document):
    info = entry(draw, document, flops=None)
    info["timing"]["gflops"] *= -1


@breaks("bench", "above peak_gflops")
def more_than_the_peak(draw, document):
    timing = entry(draw, document, flops=None)["timing"]
    timing["peak_gflops"] = timing["gflops"] / draw(factors)


@breaks("bench", "flops over us_per_call")
def work_other_than_flops_over_time(draw, document):
    entry(draw, document, flops=None)["flops"] *= draw(st.integers(2, 50))


@breaks("bench", "its range")
def metric_outside_its_range(draw, document):
    behaviour = entry(draw, document, behaviour=None)["behaviour"]
    name, values = draw(st.sampled_from((("token_entropy", (2.1, 80)), ("gini", (0.9, 2)), ("score_std", (1.1, 9)))))
    value = draw(st.floats(*values)) * draw(st.sampled_from((1, -1)))
    behaviour["metrics"][name] = stat([value] * 3)


@breaks("bench", "mean of values")
def mean_of_other_values(draw, document):
    found = a_stat(draw, document)
    found["mean"] = found["mean"] * draw(factors) + 0.001


@breaks("bench", "sd of values")
def deviation_of_other_values(draw, document):
    found = a_stat(draw, document)
    found["sd"] = found["sd"] * draw(factors) + 0.001 * max(1, *map(abs, found["values"]))


@breaks("bench", "flip_rate.values[")
def assignments_that_change_in_no_token(draw, document):
    compared = entry(draw, document, behaviour=None)["behaviour"]["precision"]["compared"]
    changes = compared[draw(st.sampled_from(("bfloat16", "mixed")))]
    changes["changed_tokens"] = stat([0.0] * 3)


@breaks("bench", "not within 0 and above")
def error_below_nothing(draw, document):
    compared = entry(draw, document, behaviour=None)["behaviour"]["precision"]["compared"]
    compared[draw(st.sampled_from(sorted(compared)))]["weight_error"] = stat([-draw(factors)] * 3)


@breaks("bench", "behaviour.seeds has")
def seed_twice(draw, document):
    behaviour = entry(draw, document, behaviour=None)["behaviour"]
    behaviour["seeds"][draw(st.integers(1, 2))] = behaviour["seeds"][0]


@breaks("bench", "the sum of shares")
def loads_that_are_not_a_whole(draw, document):
    load = entry(draw, document, behaviour=None)["behaviour"]["expert_load"]
    load["mean"] = [share * draw(st.floats(0.01, 0.98)) for share in load["mean"]]


@breaks("bench", "expert_load.mean[")
def load_that_is_no_share(draw, document):
    shares = entry(draw, document, behaviour=None)["behaviour"]["expert_load"]["mean"]
    amount = draw(st.floats(0.3, 80))
    shares[3], shares[4] = shares[3] - amount, shares[4] + amount


@breaks("sample", "not within 0 and 1")
def probability_that_is_none(draw, document):
    row = draw(st.sampled_from(entry(draw, document, figures=None)["figures"]["sequence_probs"]))
    amount = draw(st.floats(1.1, 9))
    row[0], row[1] = row[0] - amount, row[1] + amount


@breaks("sample", "the sum of a token's probabilities")
def probabilities_that_are_not_a_whole(draw, document):
    rows = entry(draw, document, figures=None)["figures"]["sequence_probs"]
    rows[draw(st.integers(0, len(rows) - 1))] = [draw(st.floats(0.2, 0.9))] * 8


@breaks("sample", "above sequence_length")
def sample_longer_than_its_sequence(draw, document):
    figures = entry(draw, document, figures=None)["figures"]
    figures["sequence_probs"] = figures["sequence_probs"] * 2
    figures["sequence_tokens"] = None


@breaks("sample", "before it")
def edges_that_fall(draw, document):
    histograms = entry(draw, document, figures=None)["figures"]["output_histogram"]
    edges = draw(st.sampled_from(list(histograms.values())))["edges"]
    place = draw(st.integers(1, len(edges) - 1))
    edges[place - 1], edges[place] = edges[place], edges[place - 1]


@breaks("sample", "counts[3] is below 0")
def bin_of_less_than_nothing(draw, document):
    histograms = entry(draw, document, figures=None)["figures"]["output_histogram"]
    draw(st.sampled_from(list(histograms.values())))["counts"][3] = -draw(st.integers(1, 1000))


@breaks("bench", "batch_size · sequence_length")
def other_tokens_than_the_batch_has(draw, document):
    info = entry(draw, document, subject=draw(st.sampled_from(("language_model", None))), num_tokens=None)
    info["batch_size" if "input" in info else "sequence_length"] *= draw(st.integers(2, 9))
    if info["num_tokens"] == info["batch_size"]:  # a token of each text: what is before it may be as long as it likes
        info["num_tokens"] = info["timing"]["tokens_per_call"] = info["batch_size"] * 3
        info["timing"]["ns_per_token"] = 1e3 * info["timing"]["us_per_call"] / info["num_tokens"]


@breaks("bench", "above num_experts")
def more_experts_than_there_are(draw, document):
    info = entry(draw, document)
    name = draw(st.sampled_from(("top_k", "experts_per_token")))
    info[name] = info["num_experts"] + draw(st.integers(1, 100))


@breaks("bench", "is not above zero")
def size_of_nothing(draw, document):
    info = entry(draw, document)
    name = draw(st.sampled_from(("num_experts", "hidden_size", "top_k")))
    info[name] = 0


@breaks("bench", "study.")
def setting_other_than_the_runs(draw, document):
    info = entry(draw, document)
    info.update(draw(st.sampled_from(({"device": "cuda"}, {"threads": 64}))))


@breaks("bench", "study.clock has")
def clock_other_than_the_runs(draw, document):
    info = entry(draw, document)
    info["timing"].update(draw(st.sampled_from(({"clock_mode": "graph+events"}, {"l2": "flushed"}))))


@breaks("bench", "study.language_model.")
def sizes_other_than_the_models(draw, document):
    info = entry(draw, document, subject="language_model")
    name = draw(st.sampled_from(("hidden_size", "num_experts")))
    info[name] += draw(st.integers(1, 1000))


@breaks("bench", "none of study.metrics")
def metric_that_the_file_does_not_describe(draw, document):
    del document["study"]["metrics"][draw(st.sampled_from(sorted(document["study"]["metrics"])))]


@breaks("bench", "range[0] is")
def range_upside_down(draw, document):
    record = document["study"]["metrics"][draw(st.sampled_from(("cv", "score_std", "gini")))]
    record["range"] = [draw(st.integers(2, 9)), 1]
