"""The contradictions of fine-tunings, of the gate's results and of its self-tests; see `contradictions`."""

from hypothesis import assume
from hypothesis import strategies as st

from tests.reports.mutations.contradictions import breaks, factors


def run(draw, document, *trainings):
    """A run of one of these trainings, or of any."""
    return draw(st.sampled_from([r for r in document["runs"] if not trainings or r["router_training"] in trainings]))


@breaks("finetune", "is below 1")
def perplexity_below_one(draw, document):
    where = draw(st.sampled_from(("original", "before", "after")))
    value = draw(st.floats(0.001, 0.999))
    if where == "original":
        document["original"]["perplexity"] = value
    else:
        run(draw, document, "trained", "frozen")["perplexity"][where] = value


@breaks("finetune", "above settings.steps")
def step_beyond_the_last(draw, document):
    run(draw, document, "trained", "frozen")["losses"][-1]["step"] = 50 + draw(st.integers(1, 10_000))


@breaks("finetune", "not after")
def step_that_comes_twice(draw, document):
    losses = run(draw, document, "trained", "frozen")["losses"]
    losses[2]["step"] = losses[1]["step"] - draw(st.integers(0, 5))


@breaks("finetune", "above num_experts")
def more_experts_than_the_model_has(draw, document):
    document["model"]["top_k"] = document["model"]["num_experts"] + draw(st.integers(1, 100))


@breaks("finetune", "above trained_parameters")
def trained_routers_without_their_parameters(draw, document):
    each = run(draw, document, "trained")
    each["router_parameters"] = each["trained_parameters"] + draw(st.integers(1, 10**6))


@breaks("finetune", "although router_training is untrained")
def training_of_what_was_not_trained(draw, document):
    untrained, trained = run(draw, document, "untrained"), run(draw, document, "trained")
    name = draw(st.sampled_from(("losses", "perplexity", "agreement")))
    untrained[name] = trained[name]


@breaks("finetune", "is below 0")
def loss_below_zero(draw, document):
    log = draw(st.sampled_from(run(draw, document, "trained", "frozen")["losses"]))
    name = draw(st.sampled_from(("loss", "load_balancing_loss", "max_violation", "load_cv")))
    log[name] = -draw(st.floats(0.001, 100))


@breaks("finetune", "not between 0 and 1")
def agreement_with_more_than_all(draw, document):
    run(draw, document)["agreement"]["before"] = draw(factors)


@breaks("finetune", "twice")
def run_that_comes_twice(draw, document):
    document["runs"].append(run(draw, document))


@breaks("gate", "beside rows[")
def no_regression_beside_what_is_slower(draw, document):
    document["outcome"] = {"exit_code": 0, "reasons": []}


@breaks("gate", "beside figures[")
def no_regression_beside_a_figure_that_moved(draw, document):
    document["rows"] = [row for row in document["rows"] if row["verdict"] == "SAME"]
    document["geometric_mean"] = None
    document["outcome"] = {"exit_code": 0, "reasons": []}


@breaks("gate", "no row or figure accuses")
def regression_without_a_culprit(draw, document):
    document["rows"] = [row for row in document["rows"] if row["verdict"] in ("SAME", "FASTER")]
    document["figures"], document["geometric_mean"] = [], None


@breaks("gate", "reasons has")
def outcome_without_its_reasons(draw, document):
    document["outcome"]["reasons"] = []


@breaks("gate", "nothing to compare")
def nothing_to_compare_beside_rows(draw, document):
    document["rows"] = [row for row in document["rows"] if row["verdict"] == "SAME"]
    document["figures"], document["geometric_mean"] = [], None
    document["outcome"]["exit_code"] = 3


@breaks("gate", "says")
def verdict_other_than_its_ratio(draw, document):
    verdict = draw(st.sampled_from(("SAME", "SLOWER", "FASTER")))
    row = next(row for row in document["rows"] if row["verdict"] == verdict)
    factor = draw(factors)
    row["ratio"] = {
        "SAME": {"estimate": 1.0, "low": 1 / (1.05 * factor), "high": 1.05 * factor},
        "SLOWER": {"estimate": factor, "low": 1.0, "high": 2 * factor},
        "FASTER": {"estimate": 1 / factor, "low": 0.5 / factor, "high": 1.0},
    }[verdict]
    document["geometric_mean"] = None


@breaks("gate", "its interval")
def ratio_upside_down(draw, document):
    row = draw(st.sampled_from([row for row in document["rows"] if row["ratio"]]))
    row["ratio"]["low"], row["ratio"]["high"] = row["ratio"]["high"] * draw(factors), row["ratio"]["low"]


@breaks("gate", "beside the verdict")
def verdict_on_nothing(draw, document):
    proved = ("SLOWER", "FASTER", "SAME")
    row = draw(st.sampled_from([row for row in document["rows"] if row["verdict"] in proved]))
    row["ratio"] = None


@breaks("gate", "pairs is 0")
def ratio_of_no_pairs(draw, document):
    draw(st.sampled_from([row for row in document["rows"] if row["ratio"]]))["pairs"] = 0


@breaks("gate", "head is the same")
def figure_that_has_not_moved(draw, document):
    figure = draw(st.sampled_from(document["figures"]))
    figure["head"] = figure["base"]


@breaks("gate", "twice")
def thing_that_comes_twice(draw, document):
    name = draw(st.sampled_from(("rows", "figures")))
    document[name].append(draw(st.sampled_from(document[name])))


@breaks("gate", "added and removed has")
def benchmark_that_came_and_went(draw, document):
    document["removed"] += document["added"]


@breaks("gate", "above figures_compared")
def more_moved_than_compared(draw, document):
    document["figures_compared"] = draw(st.integers(0, 1))


@breaks("gate", "of the ratios")
def mean_of_other_ratios(draw, document):
    mean = draw(st.sampled_from((2.0, 0.5))) * draw(st.floats(0.9, 1.1))
    document["geometric_mean"] = {"estimate": mean, "low": mean, "high": mean}


@breaks("self-test", "the sum of verdicts")
def verdicts_that_do_not_add_up(draw, document):
    name = draw(st.sampled_from(("levels", "false_alarms")))
    verdicts = (draw(st.sampled_from(document["levels"])) if name == "levels" else document[name])["verdicts"]
    verdicts["UNCERTAIN"] = verdicts.get("UNCERTAIN", 0) + draw(st.integers(1, 100))


@breaks("self-test", "verdicts.SLOWER")
def found_other_than_slower(draw, document):
    level = draw(st.sampled_from([level for level in document["levels"] if level["found"] > 0]))
    level["found"] -= draw(st.integers(1, level["found"]))


@breaks("self-test", "verdicts.SLOWER")
def alarms_without_a_verdict(draw, document):
    document["false_alarms"]["alarms"] = draw(st.integers(1, 40))


@breaks("self-test", "Wilson's bound")
def bounds_of_another_share(draw, document):
    level = draw(st.sampled_from([document["false_alarms"], *document["levels"]]))
    name = draw(st.sampled_from(("low", "high")))
    other = abs(level[name] - draw(st.floats(0.01, 0.09)))
    assume(abs(other - level[name]) > 0.005)  # mirrored at zero, it may be what it was
    level[name] = other


@breaks("self-test", "levels has")
def slowdown_that_comes_twice(draw, document):
    document["levels"].append(draw(st.sampled_from(document["levels"])))


@breaks("self-test", "found is")
def more_found_than_tried(draw, document):
    level = draw(st.sampled_from(document["levels"]))
    level["found"] = level["trials"] + draw(st.integers(1, 100))
