import math
from functools import partial

import pytest

from reports.errors import MissingDataError
from reports.format.escape import escape_markdown
from reports.format.render import to_csv, to_markdown
from reports.loading.load import load_report_data
from reports.page.sections import build_sections
from reports.tables.behaviour import balance
from reports.tables.behaviour import metrics as metric_tables
from reports.tables.paper import contextual, experts, paper_values
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
    assert row(table, metric="Mean top-2 probability", router="hash")["verdict"] == "reproduced"


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
    absent = ("hybrid", "the paper has it, and it was not measured here")
    tables = [build(each) for each in (paper_values.parameters, paper_values.random_input, paper_values.supplemental)]
    assert [table.left_out for table in tables] == [(absent,)] * 3


def test_what_several_tables_leave_out_is_said_once(document, save):
    document["benchmarks"] = [
        b
        for b in document["benchmarks"]
        if b["extra_info"]["router"] != "hybrid" and b["extra_info"]["input"] not in ("matched", "in_place")
    ]
    (*shown, last) = build_sections(load_report_data([save(document)]))
    assert "experts" not in [section.anchor for section in shown]
    assert not [section.anchor for section in shown if section.left_out]
    assert [sentence for sentence in last.left_out if "hybrid" in sentence] == [
        "hybrid: left out, because the paper has it, and it was not measured here."
    ]
    (control,) = [sentence for sentence in last.left_out if "control" in sentence]
    assert control == "The control of random against contextual: left out, because “matched” input was not measured."


def test_what_several_tables_of_a_section_need_is_a_note_and_said_once(document, save):
    sections = {section.anchor: section for section in build_sections(load_report_data([save(document)]))}
    costs_of, contextual_of = sections["costs"], sections["contextual"]
    assert [note.split()[0] for note in costs_of.notes] == ["Peak", "Throughput", "Standing"]
    assert [note[:27] for note in contextual_of.notes] == ["All three inputs have the e", "The output STD is that of a"]
    for section in sections.values():
        for note in section.notes:
            assert not [table.name for table in section.tables if note in table.caption]
            alone = [table for table in section.tables if note in table.notes]
            assert not [table.name for table in alone if escape_markdown(note) not in to_markdown(table)]
            assert not [table.name for table in alone if escape_markdown(note) in to_markdown(table, alone=False)]


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
    assert table.left_out == (("The control of random against contextual", "“matched” input was not measured"),)
    assert "–" in table.shown()[0]


def test_experts_by_kind(build):
    table = build(experts.experts)
    assert list(table.frame["kind"].unique()) == ["copied", "partitioned"]
    assert row(table, kind="copied", router="mlp")["output_error"] == 0
    assert row(table, kind="partitioned", router="mlp")["output_error"] == pytest.approx(0.7)
    assert table.findings == (
        "The network's output: copied experts keep it with all 9 routers; partitioned experts keep it with no router, "
        "with relative errors of 0.70 (linear) to 0.70 (linear), where 1 is as large as the output itself.",
    )


def test_a_standard_deviation_has_the_ends_of_its_seeds_and_nothing_below_zero(build, document):
    (info,) = entries(document, "router", "in_place", "hash")
    info["behaviour"]["layer"]["partitioned"] = {
        "output_std": stat([0.5, 0.7, 5.4]),
        "output_error": stat([0.6, 0.8, 7]),
    }
    table = build(experts.experts)
    found = row(table, kind="partitioned", router="hash")
    # the interval of the mean: 2.2 - 4.3027 * 2.7731 / sqrt(3)
    assert found["output_std_low"] == pytest.approx(-4.689, abs=1e-3)
    assert ["partitioned", "hash", "2.200 (0.500 to 5.400)", "2.800 (0.600 to 7.000)"] in table.shown()
    assert "0.70 (linear) to 2.80 (hash)" in table.findings[0]


def test_costs_show_the_share_of_peak(build):
    table = build(partial(costs.costs, "token"))
    linear = row(table, router="linear", input="random")
    assert linear["share_of_peak"] == pytest.approx(2 * 2048 * 6144 / 412 / 1e3 / 8800)
    assert set(table.frame["input"]) == {"random", "contextual"}


def test_costs_with_one_input_say_which_is_missing(build, document):
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] == "random"]
    missing = ("Cost: token on “contextual”", "the files hold no such measurement")
    assert build(partial(costs.costs, "token")).left_out == (missing,)


def test_collapse_is_found_in_the_data(build, document):
    table = build(balance.effective_experts)
    # exp(1.2 + 0.05) on random input
    assert table.findings == (
        "On “skewed” input the probability collapses onto one expert for hadamard_unconstrained (1.00 effective "
        "experts, 3.49 on random input). hadamard_unconstrained selects all 8 experts there as everywhere: its load "
        "stays even, "
        "and its weight is one expert's.",
    )
    set_metric(document, "skewed", "hadamard_unconstrained", "token_entropy", [1.0, 1.1, 1.2])
    assert build(balance.effective_experts).findings == ()


def test_routers_that_an_offset_of_all_features_leaves_as_they_are_are_named(build, document):
    for router in ("linear", "attention", "hybrid", "hash", "self_supervised"):
        set_metric(document, "skewed", router, "max_violation", [0.1, 0.31, 0.6])
    ends, finding = build(balance.largest_loads).findings
    # (1 + MaxVio) / 8 of means 0.3, 0.9, 0.3 and 0.3366: all are even but on the last
    assert ends == (
        "Largest load of the routers that select 2 experts a token: 16.2 % (linear) to 16.2 % (linear) on “random”, "
        "23.8 % (linear) to 23.8 % (linear) on “contextual”, 16.2 % (mlp) to 16.7 % (linear) on “skewed”."
    )
    assert finding.startswith("mlp, mlp_hadamard and hadamard decide the same on “skewed” as on “plain”: ")
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] != "plain"]
    assert len(build(balance.largest_loads).findings) == 1


def test_inputs_of_unlike_widths_are_named_with_them(build, document):
    table = build(balance.largest_loads)
    assert table.headings[:4] == ["Router", "Experts", "random, D = 768", "contextual, D = 384"]
    assert build(partial(costs.costs, "token")).shown()[0][0] == "random, D = 768"
    assert "“contextual” (D = 384)" in build(costs.summary).caption
    for benchmark in document["benchmarks"]:
        benchmark["extra_info"]["hidden_size"] = 384
    assert build(balance.largest_loads).headings[2] == "random"
    assert build(partial(costs.costs, "token")).shown()[0][0] == "random"
    assert "on “contextual”, over seeds" in build(costs.summary).caption


def test_metrics_of_the_inputs_that_tell_are_shown_and_those_of_all_stand_in_the_csv(build, document):
    table = build(metric_tables.balance)
    assert list(table.frame["input"].unique()) == ["random", "contextual", "skewed"]
    assert "the CSV has all 8 inputs" in table.caption
    assert to_csv(table).count("\n") == 1 + 8 * 9
    document["benchmarks"] = [b for b in document["benchmarks"] if b["extra_info"]["input"] in ("prose", "plain")]
    assert list(build(metric_tables.balance).frame["input"].unique()) == ["prose", "plain"]


@pytest.mark.parametrize(
    "builder",
    [
        costs.summary,
        paper_values.random_input,
        paper_values.supplemental,
        latency.latency,
        partial(contextual.random_against_contextual, contextual.POLARISED),
        experts.experts,
        partial(costs.costs, "token"),
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
    even, decided = build(metric_tables.balance), build(metric_tables.decisions)
    assert even.headings[:5] == ["Input", "Router", "Experts", "Load entropy", "MaxVio"]
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
    table = build(balance.largest_loads)
    found = row(table, router="attention")
    assert (found["max_load_skewed"], found["max_load_skewed_sd"]) == pytest.approx((0.3, 0.1))
    assert dict(zip(table.headings, table.shown()[1], strict=True))["skewed, D = 384"] == "30.0 ± 10.0 %"
    assert row(build(metric_tables.balance), input="skewed", router="attention")["max_violation"] == pytest.approx(1.4)


def test_effective_experts_are_those_of_each_seed(build, document):
    set_metric(document, "skewed", "mlp", "token_entropy", [0.0, 1.0, 2.0])
    set_metric(document, "skewed", "mlp", "specialisation", [0.0, 0.0, 0.0])
    # 1, e and e²: their mean, and not e, which is exp of the mean entropy
    found = row(build(balance.effective_experts), router="mlp")
    assert found["effective_experts_skewed"] == pytest.approx((1 + math.e + math.e**2) / 3)


def test_an_entropy_of_no_number_of_experts_is_no_traceback(build, document):
    del document["study"]["metrics"]["token_entropy"]["range"]
    set_metric(document, "skewed", "mlp", "token_entropy", [1e4, 2e4, 3e4])
    assert row(build(balance.effective_experts), router="mlp")["effective_experts_skewed"] > 1e100


def test_a_figure_that_a_seed_lacks_is_a_dash(build, document):
    (info,) = entries(document, "router", "skewed", "mlp")
    info["behaviour"]["metrics"]["max_violation"] = {"mean": None, "sd": None, "values": [0.5, None, 0.5]}
    assert math.isnan(row(build(balance.largest_loads), router="mlp")["max_load_skewed"])


def test_a_decision_that_is_zero_of_every_router_has_no_column(build, document):
    document["study"]["metrics"]["spread"] = {"label": "Spread of it", "definition": "0 where K is fixed"}
    for benchmark in document["benchmarks"]:
        metrics = benchmark["extra_info"]["behaviour"]["metrics"]
        metrics["spread"] = metrics["cv"] | {"mean": 0.0, "sd": 0.0, "values": [0.0] * len(metrics["cv"]["values"])}
    assert "Spread of it" not in build(metric_tables.decisions).headings
    set_metric(document, "random", "mlp", "spread", [0.0, 0.0, 0.1])
    assert "Spread of it" in build(metric_tables.decisions).headings


def test_a_metric_that_is_not_defined_is_a_dash(build):
    table = build(metric_tables.decisions)
    shown = {cells[1]: dict(zip(table.headings, cells, strict=True)) for cells in table.shown()}
    assert shown["linear"]["Z-loss"] == "4.3000 ± 0.0100"
    assert (shown["hybrid"]["Z-loss"], shown["hash"]["Z-loss"]) == ("–", "–")


def test_the_papers_tables_take_the_papers_k_and_others_the_routers(build):
    # Hash selects one expert with all of its probability; the paper's mean over two is 0.5
    assert row(build(paper_values.random_input), metric="Mean top-2 probability", router="hash")["ours"] == 0.5
    assert row(build(costs.summary), router="hash")["mean_top_k_prob"] == 1.0
    assert row(build(metric_tables.decisions), input="random", router="hash")["mean_top_k_prob"] == 1.0


def test_without_a_metric_that_has_no_better_direction_there_is_no_table_of_decisions(build, document):
    records = document["study"]["metrics"].items()
    document["study"]["metrics"] = {name: record for name, record in records if record["better"]}
    for benchmark in document["benchmarks"]:
        behaviour = benchmark["extra_info"]["behaviour"]
        behaviour["metrics"] = {name: behaviour["metrics"][name] for name in document["study"]["metrics"]}
    with pytest.raises(MissingDataError, match="every metric of the files has a better direction"):
        build(metric_tables.decisions)
