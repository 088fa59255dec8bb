import math
from functools import partial

import pytest

from reports.errors import MissingDataError
from reports.loading.load import load_report_data
from reports.tables.behaviour import balance
from reports.tables.paper import contextual, paper_values
from reports.tables.times import costs, latency
from tests.reports.conftest import set_processes, set_ratio, stat


@pytest.fixture
def build(document, save):
    """Builds a table from the document as the test has left it."""
    return lambda builder: builder(load_report_data([save(document)]))


def row(table, **wanted):
    matches = [r for r in table.frame.to_dict("records") if all(r[key] == value for key, value in wanted.items())]
    assert len(matches) == 1
    return matches[0]


def entries(document, scenario, input_name, router=None):
    infos = (benchmark["extra_info"] for benchmark in document["benchmarks"])
    return [
        i for i in infos if i["scenario"] == scenario and i["input"] == input_name and router in (None, i["router"])
    ]


def set_metric(document, input_name, router, metric, values):
    (info,) = entries(document, "router", input_name, router)
    info["behaviour"]["metrics"][metric] = stat(values)


def test_summary_has_a_row_per_router_and_names_the_fastest(build):
    table = build(costs.summary)
    assert len(table.frame) == 9
    assert table.shown()[0][:3] == ["linear", "6,144", "25,165,824"]
    assert "4.70 [4.56, 4.84]" in table.shown()[2]
    # 412 µs is linear's; hash, 0.32 times linear, selects one expert
    assert table.findings == (
        "Fastest on random input of the routers that select 2 experts a token: hadamard, 0.600 times linear, 247 µs "
        "per call; apart, selecting another number: hash, 0.320 times linear (1 expert) and "
        "hadamard_unconstrained, 0.620 times linear (8 experts).",
    )
    shown = {cells[0]: dict(zip(table.headings, cells, strict=True)) for cells in table.shown()}
    assert [shown[name]["Experts"] for name in ("linear", "hash", "hadamard_unconstrained")] == ["2", "1", "8"]


def test_a_tie_for_the_fastest_is_called_one(build, document):
    (info,) = entries(document, "router", "random", "hadamard")
    set_ratio(info, 0.99, 0.7, 1.4)
    # their geometric mean is 0.99 · 412
    info["timing"]["process_us"] = [0.99 * 412 * factor for factor in (0.8, 1.25, 1.0, 0.9, 1 / 0.9)]
    assert "µs per call, level with linear; apart" in build(costs.summary).findings[0]


def test_the_fastest_is_judged_among_all_pairs_because_it_was_chosen_by_what_was_measured(build, document):
    # Six that measure alike and one that is 2 % faster with t = 5.6 of four degrees of freedom, p = 0.005: among six
    # comparisons a difference, among 21 none.
    for router in ("linear", "mlp", "attention", "hybrid", "self_supervised", "mlp_hadamard", "hadamard"):
        (info,) = entries(document, "router", "random", router)
        info["timing"]["peak_gflops"] = 1e4
        excess = [0.02 + step * 0.00799 for step in (1, -1, 1, -1, 0)] if router == "hadamard" else [0.0] * 5
        set_ratio(info, math.exp(-0.02 * (router == "hadamard")), 0.97 if router == "hadamard" else 1, 1)
        set_processes(info, [412 * math.exp(-each) for each in excess])
    assert "hadamard, 0.980 times linear, 404 µs per call, level with" in build(costs.summary).findings[0]


def test_where_a_row_is_missing_nobody_is_the_fastest(build, document):
    document["benchmarks"] = [
        b
        for b in document["benchmarks"]
        if (b["extra_info"]["scenario"], b["extra_info"]["input"], b["extra_info"]["router"])
        != ("router", "random", "mlp")
    ]
    assert build(costs.summary).findings == ("Nobody is named the fastest on random input: mlp was not measured.",)


def test_where_all_select_another_number_nobody_is_the_fastest(build, document):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["router"] == "hash"]
    assert build(costs.summary).findings == (
        "Nobody is named the fastest on random input: all select another number of experts.",
    )


def test_parameters_against_the_paper(build):
    table = build(paper_values.parameters)
    assert row(table, router="mlp_hadamard")["paper_name"] == "Hadamard"
    assert row(table, router="hybrid")["verdict"] == "reproduced"
    assert table.shown()[7] == ["hadamard", "–", "–", "0", "–"]
    assert "6 reproduced" in table.findings[0]


def test_random_input_verdicts(build):
    table = build(paper_values.random_input)
    assert row(table, metric="Entropy (nats)", router="linear")["verdict"] == "reproduced"
    assert row(table, metric="Entropy (nats)", router="mlp_hadamard")["verdict"] == "approximate"
    assert row(table, metric="Mean top-k probability", router="hash")["verdict"] == "reproduced"


def test_other_sizes_are_not_compared(build, document):
    for info in entries(document, "router", "random"):
        info["hidden_size"] = 64
    set_metric(document, "random", "linear", "token_entropy", [0.9, 0.9, 0.9])
    assert set(build(paper_values.random_input).frame["verdict"].dropna()) == {"not comparable"}
    assert set(build(paper_values.parameters).frame["verdict"].dropna()) == {"not comparable"}


def test_supplemental_leaves_open_definitions_open(build):
    table = build(paper_values.supplemental)
    assert row(table, metric="Output STD", router="linear")["verdict"] == "not derivable"
    assert row(table, metric="Auxiliary loss", router="hash")["verdict"] == "not derivable"
    assert row(table, metric="Auxiliary loss", router="linear")["verdict"] == "reproduced"


def test_routers_of_the_paper_that_were_not_measured_are_named(build, document):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["router"] != "hybrid"]
    assert "not measured here: hybrid" in " ".join(build(paper_values.random_input).findings)


def test_latency_compares_the_order_alone(build):
    table = build(latency.latency)
    assert row(table, router="mlp_hadamard")["paper_ratio"] == pytest.approx(0.88 / 0.07)
    # Ours: hash is the fastest, the paper's is the slowest; MLP and Hybrid, MLP and Attention change places.
    assert row(table, router="mlp")["order"] == "differs against attention, hybrid and hash"
    assert row(table, router="linear")["order"] == "differs against hash"
    assert "8 of 15 pairs" in table.findings[0]


def test_latency_leaves_overlapping_intervals_undecided(build, document):
    (info,) = entries(document, "router", "random", "attention")
    set_ratio(info, 1.0, 0.9, 1.1)
    assert row(build(latency.latency), router="attention")["order"] == (
        "differs against mlp and hash; undecided against linear"
    )


def test_contextual_difference_is_paired_by_seed(build, document):
    set_metric(document, "plain", "linear", "token_entropy", [1.0, 1.5, 2.0])
    set_metric(document, "contextual", "linear", "token_entropy", [0.9, 1.3, 1.7])
    result = row(build(partial(contextual.random_against_contextual, contextual.POLARISED)), router="linear")
    # Differences −0.1, −0.2, −0.3: mean −0.2, sd 0.1, reach 4.3027 · 0.1 / √3 = 0.24842
    assert result["shift"] == pytest.approx(-0.2)
    assert result["shift_low"] == pytest.approx(-0.44842, abs=1e-5)
    assert result["shift_high"] == pytest.approx(0.04842, abs=1e-5)
    assert result["verdict"] == "unclear"


def test_contextual_verdicts_and_conclusion(build):
    table = build(partial(contextual.random_against_contextual, contextual.POLARISED))
    verdicts = dict(zip(table.frame["router"], table.frame["verdict"], strict=True))
    assert verdicts["linear"] == "holds"
    assert verdicts["attention"] == "does not hold"
    assert verdicts["hash"] == "no change"
    assert "holds in part (7 of 8 routers)" in table.findings[0]
    assert "does not hold for attention; no change for hash" in table.findings[0]


def test_output_variance_names_the_largest_shift(build, document):
    (info,) = entries(document, "router", "contextual", "hybrid")
    (before,) = entries(document, "router", "plain", "hybrid")
    twice = [2 * value for value in before["behaviour"]["layer"]["partitioned"]["output_std"]["values"]]
    info["behaviour"]["layer"]["partitioned"]["output_std"] = stat(twice)
    findings = build(partial(contextual.random_against_contextual, contextual.VARIED)).findings
    assert "holds (9 of 9 routers): holds for all 9 routers" in findings[0]
    assert findings[1] == (
        "Output standard deviation, largest relative change of the routers that select 2 experts a token: increase for "
        "hybrid, × 2.00; the paper has an increase, largest for mlp (here × 1.20)."
    )


def test_a_shift_of_eighty_decades_is_written_shortly(build, document):
    for input_name, value in (("plain", 1e-40), ("contextual", 1e40)):
        (info,) = entries(document, "router", input_name, "hybrid")
        info["behaviour"]["layer"]["partitioned"]["output_std"] = {"mean": value, "sd": 0.0, "values": [value] * 3}
    assert (
        "hybrid, × 1.00e80; the" in build(partial(contextual.random_against_contextual, contextual.VARIED)).findings[1]
    )


def test_the_largest_shift_is_one_among_equals(build, document):
    (info,) = entries(document, "router", "contextual", "hash")
    info["behaviour"]["layer"]["partitioned"]["output_std"] = {"mean": 9.0, "sd": 0.0, "values": [9.0, 9.0, 9.0]}
    assert "for hash" not in build(partial(contextual.random_against_contextual, contextual.VARIED)).findings[1]


def test_copied_experts_hide_the_router(build):
    table = build(partial(contextual.random_against_contextual, contextual.VARIED_BY_INPUT))
    assert list(table.frame["plain"]) == pytest.approx([0.05] * 9)
    assert "which hide the router" in table.findings[0]


def test_a_shift_that_no_router_shows_is_not_supported(build, document):
    for info in entries(document, "router", "contextual"):
        set_metric(document, "contextual", info["router"], "max_violation", [0.1, 0.1, 0.1])
    findings = build(partial(contextual.random_against_contextual, contextual.CONCENTRATED)).findings
    assert "is not supported (0 of 9 routers)" in findings[0]


def test_contextual_without_the_control(build, document):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] != "matched"]
    table = build(partial(contextual.random_against_contextual, contextual.POLARISED))
    assert table.findings[-1] == "The control input “matched” was not measured."
    assert "–" in table.shown()[0]


def test_experts_by_kind(build):
    table = build(contextual.experts)
    assert list(table.frame["kind"].unique()) == ["copied", "partitioned"]
    assert row(table, kind="copied", router="mlp")["output_error"] == 0
    assert row(table, kind="partitioned", router="mlp")["output_error"] == pytest.approx(0.7)


def test_costs_show_the_share_of_peak(build):
    table = build(partial(costs.costs, "token"))
    linear = row(table, router="linear", input="random")
    assert linear["share_of_peak"] == pytest.approx(2 * 2048 * 6144 / 412 / 1e3 / 8800)
    assert set(table.frame["input"]) == {"random", "contextual"}


def test_costs_with_one_input_say_which_is_missing(build, document):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] == "random"]
    assert build(partial(costs.costs, "token")).findings == ("Input “contextual” was not measured in this scenario.",)


def test_collapse_is_found_in_the_data(build, document):
    skewed = build(partial(balance.balance, "skewed"))
    assert "hadamard_unconstrained (1.00 effective experts" in skewed.findings[0]
    assert build(partial(balance.balance, "random")).findings == ()
    set_metric(document, "skewed", "hadamard_unconstrained", "token_entropy", [1.0, 1.1, 1.2])
    assert build(partial(balance.balance, "skewed")).findings == ()


@pytest.mark.parametrize(
    "builder",
    [
        costs.summary,
        paper_values.random_input,
        paper_values.supplemental,
        latency.latency,
        partial(contextual.random_against_contextual, contextual.POLARISED),
        contextual.experts,
        partial(costs.costs, "token"),
        partial(balance.balance, "skewed"),
    ],
)
def test_a_table_without_its_data_says_what_is_missing(build, document, builder):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] == "prose"]
    with pytest.raises(MissingDataError, match="“"):
        build(builder)


def test_every_metric_of_the_file_stands_in_the_table_of_balance_or_of_decisions(build, document):
    document["study"]["metrics"]["spread"] = {
        "label": "Spread of it",
        "definition": "a metric of tomorrow",
        "better": "lower",
    }
    document["study"]["metrics"]["taste"] = {"label": "Taste of it", "definition": "another"}
    for benchmark in document["benchmarks"]:
        metrics = benchmark["extra_info"]["behaviour"]["metrics"]
        metrics["spread"] = metrics["taste"] = metrics["cv"]
    even, decided = build(partial(balance.balance, "random")), build(partial(balance.decisions, "random"))
    assert even.headings[:5] == ["Router", "Experts", "Largest load", "Load entropy", "MaxVio"]
    assert "Spread of it" in even.headings
    assert "Taste of it" in decided.headings
    labels = {record["label"] for record in document["study"]["metrics"].values()}
    # the paper's own definition has the paper's tables
    assert labels - {"Mean top-2"} == (set(even.headings) | set(decided.headings)) & labels
    assert even.shown()[0][even.headings.index("Spread of it")] == "0.200 ± 0.010"
    assert "Mean top-k" in decided.headings


def test_the_largest_load_is_taken_within_a_seed(build, document):
    # (1 + 0.6) / 8 = 20 %, (1 + 1.4) / 8 = 30 %, (1 + 2.2) / 8 = 40 %: mean 30 %, sd 10 %, however the experts are
    # numbered; the mean loads of the synthetic file have a largest one of 20 %
    set_metric(document, "skewed", "attention", "max_violation", [0.6, 1.4, 2.2])
    table = build(partial(balance.balance, "skewed"))
    found = row(table, router="attention")
    assert (found["max_load"], found["max_load_sd"]) == pytest.approx((0.3, 0.1))
    shown = dict(zip(table.headings, table.shown()[1], strict=True))
    assert shown["Largest load"] == "30.0 % ± 10.0 %"
    assert shown["MaxVio"] == "1.400 ± 0.800"


def test_effective_experts_are_those_of_each_seed(build, document):
    set_metric(document, "skewed", "mlp", "token_entropy", [0.0, 1.0, 2.0])
    set_metric(document, "skewed", "mlp", "specialisation", [0.0, 0.0, 0.0])
    # 1, e and e²: their mean, and not e, which is exp of the mean entropy
    found = row(build(partial(balance.balance, "skewed")), router="mlp")
    assert found["effective_experts"] == pytest.approx((1 + math.e + math.e**2) / 3)


def test_an_entropy_of_no_number_of_experts_is_no_traceback(build, document):
    del document["study"]["metrics"]["token_entropy"]["range"]
    set_metric(document, "skewed", "mlp", "token_entropy", [1e4, 2e4, 3e4])
    assert row(build(partial(balance.balance, "skewed")), router="mlp")["effective_experts"] > 1e100


def test_a_figure_that_a_seed_lacks_is_a_dash(build, document):
    (info,) = entries(document, "router", "skewed", "mlp")
    info["behaviour"]["metrics"]["max_violation"] = {"mean": None, "sd": None, "values": [0.5, None, 0.5]}
    assert math.isnan(row(build(partial(balance.balance, "skewed")), router="mlp")["max_load"])


def test_a_decision_that_is_zero_of_every_router_has_no_column(build, document):
    document["study"]["metrics"]["spread"] = {"label": "Spread of it", "definition": "0 where K is fixed"}
    for benchmark in document["benchmarks"]:
        metrics = benchmark["extra_info"]["behaviour"]["metrics"]
        metrics["spread"] = metrics["cv"] | {"mean": 0.0, "sd": 0.0, "values": [0.0] * len(metrics["cv"]["values"])}
    assert "Spread of it" not in build(partial(balance.decisions, "random")).headings
    set_metric(document, "random", "mlp", "spread", [0.0, 0.0, 0.1])
    assert "Spread of it" in build(partial(balance.decisions, "random")).headings


def test_a_metric_that_is_not_defined_is_a_dash(build):
    table = build(partial(balance.decisions, "random"))
    shown = {cells[0]: dict(zip(table.headings, cells, strict=True)) for cells in table.shown()}
    assert shown["linear"]["Z-loss"] == "4.3000 ± 0.0100"
    assert (shown["hybrid"]["Z-loss"], shown["hash"]["Z-loss"]) == ("–", "–")


def test_the_papers_tables_take_the_papers_k_and_others_the_routers(build):
    # Hash selects one expert with all of its probability; the paper's mean over two is 0.5
    assert row(build(paper_values.random_input), metric="Mean top-k probability", router="hash")["ours"] == 0.5
    assert row(build(costs.summary), router="hash")["mean_top_k_prob"] == 1.0
    assert row(build(partial(balance.decisions, "random")), router="hash")["mean_top_k_prob"] == 1.0


def test_without_a_metric_that_has_no_better_direction_there_is_no_table_of_decisions(build, document):
    records = document["study"]["metrics"].items()
    document["study"]["metrics"] = {name: record for name, record in records if record["better"]}
    for benchmark in document["benchmarks"]:
        behaviour = benchmark["extra_info"]["behaviour"]
        behaviour["metrics"] = {name: behaviour["metrics"][name] for name in document["study"]["metrics"]}
    with pytest.raises(MissingDataError, match="every metric of the files has a better direction"):
        build(partial(balance.decisions, "random"))
