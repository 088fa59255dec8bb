from dataclasses import replace

import pytest

from reports.overview.trust import Level, by_chance, trust_box
from reports.records.record import Interval
from reports.records.run import NoiseRecord


def told(data, **changes):
    """The box of the same measurements under another run."""
    source = data.sources[0]
    run = {name: value for name, value in source.run.items() if name != "conditions"} | changes.pop("run", {})
    return trust_box(replace(data, sources=(replace(source, run=run, **changes),)))


def noise(misses, of, resolution=0.03):
    held, missed = Interval(1.0, 0.99, 1.01), Interval(1.1, 1.05, 1.15)
    return tuple(
        NoiseRecord.model_construct(
            scenario="router", input=str(place), noise_floor=missed if place < misses else held, resolution=resolution
        )
        for place in range(of)
    )


def with_noise(data, *arguments, **named):
    records = data.sources[0].records
    return told(data, records=records.model_copy(update={"noise": noise(*arguments, **named)}))


def test_a_good_run_is_green_and_says_which_differences_count(data):
    box = told(data)
    assert box.level == Level.GREEN
    assert box.headline == "Nothing speaks against its times, for this machine."
    assert box.differences == (("Router alone", "1.2 to 2.1 %"),)
    assert box.reasons == (
        "Of 2 comparisons of equal code none found a difference; one in twenty does by chance.",
        "Load average 0.1 before and 0.4 after the run on 2 cores.",
        "On a CPU, with 1 thread: ratios on a GPU differ.",
        "Encoder of real text: sentence-tuned encoder, taken instead of the masked-LM BERT.",
        "Language model: derived from a dense model by upcycling; not Qwen1.5-MoE.",
    )


def test_chance_explains_some_misses():
    # 1 − 0.95¹⁶ − 16 · 0.05 · 0.95¹⁵ − 120 · 0.05² · 0.95¹⁴ = 0.0429
    assert by_chance(3, 16) == pytest.approx(0.0429, abs=1e-4)
    assert by_chance(0, 16) == pytest.approx(1)


@pytest.mark.parametrize(("misses", "level"), [(2, Level.GREEN), (3, Level.AMBER), (8, Level.RED)])
def test_more_misses_than_chance_explains(data, misses, level):
    box = with_noise(data, misses, 16)
    assert box.level == level
    assert f"Of 16 comparisons of equal code {misses} found a difference" in " ".join(box.reasons)


def test_what_makes_a_run_amber(data):
    assert with_noise(data, 0, 0).reasons[0].startswith("The file states no noise floor")
    coarse = with_noise(data, 0, 4, resolution=0.24)
    assert coarse.level == Level.AMBER
    assert coarse.reasons[0] == "Coarse: differences of more than 20 % may be missed in router alone."
    busy = told(data, run={"load": {"before": [5.0, 1, 1], "after": [1.0, 1, 1]}})
    assert busy.reasons[0] == ("Load average 5.0 before and 1.0 after the run on 2 cores: other programs were running.")
    assert told(data, commit={"id": "a", "dirty": True}).level == Level.AMBER
    assert (busy.faults, told(data).faults) == (1, 0)
    assert "slowed down by the power cap" in trust_box(data).reasons[0]


def test_what_makes_a_run_red(data):
    planned = data.sources[0].records.model_copy(update={"planned": data.sources[0].measured + 9})
    incomplete = told(data, records=planned)
    assert incomplete.level == Level.RED
    assert incomplete.headline == "Nobody should be ranked by these numbers, because:"
    assert "is incomplete: it holds" in incomplete.reasons[0]
    smoke = told(data, run={"preset": {"name": "smoke"}})
    assert smoke.level == Level.RED
    assert "is a smoke run. Such a run proves that the parts work" in smoke.reasons[0]
    mixed = trust_box(data, ["Times of 2 machines stand apart."])
    assert (mixed.level, mixed.reasons[0]) == (Level.RED, "Times of 2 machines stand apart.")


def test_fine_tuning_alone_has_no_times(load, pristine_tuning):
    box = trust_box(load(pristine_tuning))
    assert (box.level, box.headline, box.reasons) == (Level.GREEN, "No times were measured.", ())
    quick = pristine_tuning | {"settings": pristine_tuning["settings"] | {"quick": True}}
    assert trust_box(load(quick)).level == Level.RED
