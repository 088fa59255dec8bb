import math

import pytest

from reports.errors import MissingDataError
from reports.loading.load import load_report_data
from reports.tables.fine_tuning import expert_load, losses, perplexity, warm_start

KEY = ("router", "initialise", "seed", "router_training")


@pytest.fixture
def build(tuning, save):
    """Builds a table from the fine-tuning as the test has left it."""
    return lambda builder: builder(load_report_data([save(tuning)]))


def row(table, **wanted):
    matches = [r for r in table.frame.to_dict("records") if all(r[key] == value for key, value in wanted.items())]
    assert len(matches) == 1
    return matches[0]


def cells(table, *starting):
    """The shown row that starts with these cells, by heading."""
    matches = [shown for shown in table.shown() if tuple(shown[: len(starting)]) == starting]
    assert len(matches) == 1
    return dict(zip(table.headings, matches[0], strict=True))


def runs(document, **wanted):
    return [run for run in document["runs"] if all(run[key] == value for key, value in wanted.items())]


def test_losses_stand_beside_the_papers(build):
    table = build(losses.losses)
    assert table.headings == [
        "Router", "Start", "Source", *(f"Step {step}" for step in (10, 20, 30, 40, 50)), "Falls at every step",
    ]  # fmt: skip
    printed = cells(table, "linear", "random", "the paper (V-A)")
    assert [printed[f"Step {step}"] for step in (10, 50)] == ["1.9086", "0.0006"]
    assert cells(table, "attention", "random", "the paper (V-B)")["Step 10"] == "9.645"
    # linear is router 0: 4.00, 4.01, 4.02 by seed; then a fifth less
    ours = cells(table, "linear", "random", "3 seeds")
    assert (ours["Step 10"], ours["Step 20"]) == ("4.0100 ± 0.0100", "3.2080 ± 0.0080")
    assert ours["Falls at every step"] == "holds"
    assert "(V-A), random start: holds (9 of 9)." in table.findings[0]
    assert "the shape of the curves, and no value" in table.caption
    assert "derived from a dense model by upcycling; not Qwen1.5-MoE" in table.whole_caption


def test_a_loss_that_rises_in_the_mean_does_not_fall_and_in_one_seed_is_unclear(build, tuning):
    for run in runs(tuning, router="mlp", initialise="random", router_training="trained"):
        run["losses"][3]["loss"] = 9.0
    runs(tuning, router="hash", initialise="random", router_training="trained")[0]["losses"][4]["loss"] = 2.3
    runs(tuning, router="hybrid", initialise="random", router_training="trained")[0]["losses"][4]["loss"] = None
    table = build(losses.losses)
    verdicts = {r["router"]: r["verdict"] for r in table.frame.to_dict("records") if r["start"] == "random"}
    assert (verdicts["mlp"], verdicts["hash"], verdicts["hybrid"]) == ("does not hold", "unclear", "does not hold")
    assert table.findings[0].endswith("holds in part (6 of 9): does not hold for mlp and hybrid; unclear for hash.")
    # A mean of the seeds that did not diverge would flatter.
    assert cells(table, "hybrid", "random")["Step 50"] == "–"


def test_a_long_log_is_thinned_and_the_frame_keeps_all(build, tuning):
    tuning["settings"]["steps"] = 10_000
    for run in tuning["runs"]:
        run["losses"] = [{"step": step, "loss": 5.0 / step} for step in range(1, 101)]
    table = build(losses.losses)
    shown = [heading for heading in table.headings if heading.startswith("Step ")]
    assert (len(shown), shown[0], shown[-1]) == (10, "Step 1", "Step 100")
    assert "10 of 100 logged steps" in table.caption
    assert row(table, router="mlp", start="random")["loss_77"] == pytest.approx(5 / 77)


def test_routers_of_the_paper_that_were_not_tuned_are_named(build, tuning):
    tuning["runs"] = runs(tuning, router="mlp")
    assert [name for name, _ in build(losses.losses).left_out] == ["linear", "attention"]


def test_losses_against_linear_are_paired_by_seed(build):
    table = build(losses.against_linear)
    result = row(table, router="attention", start="random")
    # attention is router 1: a tenth above linear in every seed; at the end 0.8⁴ of that
    assert result["first"] == pytest.approx(0.1)
    assert result["last_low"] == pytest.approx(0.04096)
    assert (result["starts"], result["ends"]) == ("above", "above")
    assert table.findings[0] == (
        "Attention against linear (V-B), random start: the claim that its loss starts above linear's holds (+0.1000 "
        "[+0.1000, +0.1000]); the claim that it ends above linear's holds (+0.0410 [+0.0410, +0.0410])."
    )


def test_attention_below_linear_does_not_hold(build, tuning):
    for run in runs(tuning, router="attention", initialise="random"):
        run["losses"][-1]["loss"] = 0.1 + 0.001 * run["seed"]
    result = row(build(losses.against_linear), router="attention", start="random")
    assert (result["starts"], result["ends"], result["ends_above"]) == ("above", "below", "does not hold")


def test_without_linear_there_is_nothing_beside(build, tuning):
    tuning["runs"] = [run for run in tuning["runs"] if run["router"] != "linear"]
    with pytest.raises(MissingDataError, match="beside linear from the same start"):
        build(losses.against_linear)


def test_perplexity_is_paired_with_the_frozen_control(build, tuning):
    for seed, (trained, frozen) in enumerate([(50.0, 51.0), (52.0, 54.0), (51.0, 54.0)]):
        wanted = {"router": "mlp", "initialise": "random", "seed": seed}
        runs(tuning, **wanted, router_training="trained")[0]["perplexity"]["after"] = trained
        runs(tuning, **wanted, router_training="frozen")[0]["perplexity"]["after"] = frozen
    table = build(perplexity.held_out)
    result = row(table, router="mlp", start="random")
    # Differences −1, −2, −3: mean −2, sd 1, reach 4.30265 · 1 / √3 = 2.48414
    assert (result["gain"], result["after"], result["after_sd"]) == (-2.0, 51.0, 1.0)
    assert (result["gain_low"], result["gain_high"]) == pytest.approx((-4.48414, 0.48414), abs=1e-5)
    assert result["verdict"] == "unclear"
    assert cells(table, "mlp", "random")["After"] == "51.00 ± 1.00"
    assert cells(table, "mlp", "random")["95 % interval"] == "[48.52, 53.48]"
    assert row(table, router="linear", start="random")["verdict"] == "helps"
    assert "random start, held-out text: helps for all but mlp;" in table.findings[0]
    assert "unclear for mlp." in table.findings[0]


def test_training_that_harms_is_called_so(build, tuning):
    for run in runs(tuning, router="mlp", initialise="random", router_training="trained"):
        run["perplexity"]["after"] = 90.0 + run["seed"]
    assert row(build(perplexity.held_out), router="mlp", start="random")["verdict"] == "harms"


def test_perplexity_stands_beside_stock_and_the_untouched_model(build):
    table = build(perplexity.held_out)
    stock = row(table, router="stock")
    assert (stock["before"], stock["agreement_before"]) == (60.0, 1.0)
    assert math.isnan(stock["beside_stock"])
    # stock ends at 48 + 0.1 seed; linear distilled begins at 60.6 (1 + seed / 1000) and ends at 0.8 of it + 0.1 seed
    assert row(table, router="linear", start="distilled")["beside_stock"] == pytest.approx(0.48 + 0.04848)
    assert "the untouched model has 60.00" in table.caption
    assert "10 passages (2,412 tokens) of shakespeare 0.6" in table.caption
    assert table.findings[-1].endswith("beside stock's, distilled start: higher for all 9 routers.")


def test_one_seed_has_no_interval_and_leaves_everything_open(build, tuning):
    tuning["runs"] = [run for run in tuning["runs"] if run["seed"] == 0]
    table = build(perplexity.held_out)
    shown = cells(table, "mlp", "random")
    assert (shown["95 % interval"], shown["Training the router"]) == ("–", "unclear")
    assert row(build(warm_start.warm_start), router="linear", start="distilled")["verdict"] == "unclear"


def test_a_run_that_diverged_is_named(build, tuning):
    runs(tuning, router="mlp", initialise="random", router_training="trained")[1]["perplexity"]["after"] = None
    table = build(perplexity.held_out)
    assert table.findings[-1] == (
        "Without a finite perplexity after training, and in no mean: mlp (random, seed 1, trained)."
    )


def test_runs_that_were_not_trained_show_dashes(build, tuning):
    for run in tuning["runs"]:
        run |= {"losses": [], "perplexity": {"before": 61.0, "after": None}, "agreement": {"before": 0.9}}
    shown = cells(build(perplexity.held_out), "mlp", "random")
    assert (shown["Before"], shown["After"], shown["Trained − frozen"]) == ("61.00 ± 0.00", "–", "–")
    assert build(perplexity.held_out).findings == ()
    for builder in (losses.losses, losses.against_linear, expert_load.expert_load):
        with pytest.raises(MissingDataError):
            build(builder)


def test_a_start_that_was_evaluated_alone_is_in_the_warm_start(build, tuning):
    for run in runs(tuning, router="mlp"):
        run |= {"router_training": "untrained", "losses": []}
        run["perplexity"]["after"] = run["agreement"]["after"] = None
    # Trained and frozen runs became the same one.
    tuning["runs"] = list({tuple(run[key] for key in KEY): run for run in tuning["runs"]}.values())
    start = row(build(warm_start.warm_start), router="mlp", start="distilled")
    assert (start["seeds"], start["ratio"]) == (3, pytest.approx(1.018 * 1.001))
    shown = cells(build(perplexity.held_out), "mlp", "distilled")
    assert (shown["Seeds"], shown["After"], shown["Trained parameters"]) == ("3", "–", "–")
    assert "mlp" not in set(build(losses.losses).frame["router"])


def test_a_warm_start_is_within_three_per_cent_with_its_whole_interval(build, tuning):
    def start(router, ratios):
        for run in runs(tuning, router=router, initialise="distilled"):
            run["perplexity"]["before"] = 60.0 * ratios[run["seed"]]

    start("linear", (1.01, 1.011, 1.012))
    start("mlp", (1.02, 1.03, 1.04))
    start("hash", (1.05, 1.051, 1.052))
    start("hybrid", (0.9, 0.9, 0.9))
    table = build(warm_start.warm_start)
    verdicts = {r["router"]: r["verdict"] for r in table.frame.to_dict("records") if r["start"] == "distilled"}
    assert verdicts["linear"] == verdicts["hybrid"] == "holds"
    assert (verdicts["mlp"], verdicts["hash"]) == ("unclear", "does not hold")
    assert cells(table, "linear", "distilled")["Ratio to the original gates"] == "1.011 [1.009, 1.013]"
    assert cells(table, "linear", "distilled")["Agreement"] == "80.0 %"
    assert "stock" not in set(table.frame["router"])
    assert "random start: does not hold (0 of 9)." in table.findings[0]


def test_a_ratio_is_to_the_untouched_model_of_the_runs_own_file(tuning, save):
    other = tuning | {"original": {"perplexity": 120.0}, "runs": runs(tuning, router="linear")}
    rest = tuning | {"runs": [run for run in tuning["runs"] if run["router"] != "linear"]}
    table = warm_start.warm_start(load_report_data([save(rest, "a.json"), save(other, "b.json")]))
    assert row(table, router="linear", start="distilled")["ratio"] == pytest.approx(1.01 / 2, abs=1e-3)
    assert row(table, router="attention", start="distilled")["ratio"] == pytest.approx(1.014, abs=2e-3)


def test_without_the_untouched_model_there_is_no_ratio(build, tuning):
    tuning["original"]["perplexity"] = None
    with pytest.raises(MissingDataError, match="untouched model"):
        build(warm_start.warm_start)
    assert "the untouched model has –" in build(perplexity.held_out).caption


def test_expert_load_from_the_first_step_to_the_last(build, tuning):
    for run in runs(tuning, router="mlp", initialise="random"):
        run["losses"][-1]["max_violation"] = 0.5 + 0.01 * run["seed"]
    table = build(expert_load.expert_load)
    shown = cells(table, "linear", "random")
    assert shown["MaxVio, step 10"] == "1.310 ± 0.010"
    assert shown["MaxVio, step 50"] == "1.710 ± 0.010"
    assert (shown["Change of MaxVio"], shown["Load becomes"]) == ("+0.400 [+0.400, +0.400]", "more uneven")
    assert cells(table, "mlp", "random")["Load becomes"] == "more even"
    assert "random start: more uneven for all but mlp;" in table.findings[0]
    assert "more even for mlp." in table.findings[0]


@pytest.mark.parametrize(
    ("balance", "words"),
    [
        ("switch", "E Σ f P, 1 at balance; it enters training with the coefficient 0.01."),
        (None, "E Σ f P, 1 at balance; it enters training with the coefficient 0.01."),
        ("bias", "1 at balance; it is shown alone: the load is balanced by bias, the coefficient of whose loss"),
    ],
)
def test_it_says_what_evened_the_load_out(build, tuning, balance, words):
    if balance is None:  # a file from before there was a choice
        del tuning["settings"]["balance"]
    else:
        tuning["settings"]["balance"] = balance
    assert words in build(expert_load.expert_load).caption


def test_balance_that_was_not_logged_is_a_dash(build, tuning):
    for run in runs(tuning, router="mlp", initialise="random"):
        for log in run["losses"]:
            log["max_violation"] = log["load_cv"] = None
    shown = cells(build(expert_load.expert_load), "mlp", "random")
    assert (shown["MaxVio, step 10"], shown["Change of MaxVio"], shown["Load becomes"]) == ("–", "–", "–")
    assert shown["Balancing loss, step 10"] == "1.201 ± 0.001"


@pytest.mark.parametrize(
    "builder",
    [losses.losses, losses.against_linear, perplexity.held_out, warm_start.warm_start, expert_load.expert_load],
)
def test_a_quick_run_is_marked_in_title_and_caption(build, tuning, builder):
    assert "quick" not in build(builder).title
    tuning["settings"]["quick"] = True
    table = build(builder)
    assert table.title.endswith(" (quick run)")
    assert table.notes[-1].endswith("it proves that the parts work, and is no result.")


@pytest.mark.parametrize(
    "builder",
    [losses.losses, losses.against_linear, perplexity.held_out, warm_start.warm_start, expert_load.expert_load],
)
def test_without_fine_tuning_a_table_says_so(document, save, builder):
    with pytest.raises(MissingDataError, match="the files hold no fine-tuning"):
        builder(load_report_data([save(document)]))
