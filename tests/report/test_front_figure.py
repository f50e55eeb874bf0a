"""Tests of mpnas/report/front_figure.py."""

import statistics

import pytest
from front_maker import OBJECTIVES, made, record, records
from page_tags import Tags
from sweep_maker import sweep

from mpnas.report.front_figure import front_picture, percent_of, styles_of

SELECT_ONLY = [OBJECTIVES[0], OBJECTIVES[2]]


def measured(name, cost, accuracy, **changes):
    return record(name, metrics={"accuracy": accuracy}, costs={"weight_bytes": cost}, **changes)


def test_marks_lie_where_a_hand_puts_them():
    rows = [measured("a", 100, 0.5), measured("b", 10_000, 0.9, controller="dbp")]
    tags = Tags(front_picture(made(rows, objectives=SELECT_ONLY)).svg)
    cheap, dear = tags.of_kind("search")
    # Two decades with 6 % of them at each end; 0.4 with 8 % of it at each end, over 380 pixels.
    assert float(cheap["x"].rstrip("%")) == pytest.approx(100 * 0.06 / 1.12, abs=1e-3)
    assert float(dear["x"].rstrip("%")) == pytest.approx(100 * 1.06 / 1.12, abs=1e-3)
    assert float(cheap["y"]) == pytest.approx(380 * 1.08 / 1.16, abs=0.01)
    assert float(dear["y"]) == pytest.approx(380 * 0.08 / 1.16, abs=0.01)


def test_the_line_joins_the_front_alone_from_cheap_to_dear():
    [line] = Tags(front_picture(made()).svg).of_kind("front")
    assert (line["data-x"], line["data-y"]) == ("600 900", "0.87 0.885")


def test_error_bars_are_a_standard_deviation_over_the_seeds_of_a_label():
    front = sweep()
    bars = {bar["data-label"]: bar for bar in Tags(front_picture(front).svg).of_kind("error-bar")}
    label = front["points"][0]["label"]
    seeds = [p["metrics"]["test_accuracy"]["mean"] for p in front["points"] if p["label"] == label]
    mean, spread = statistics.mean(seeds), statistics.stdev(seeds)
    assert len(seeds) == 3
    assert float(bars[label]["data-low"]) == pytest.approx(mean - spread)
    assert float(bars[label]["data-high"]) == pytest.approx(mean + spread)
    assert "uniform 4-bit" in bars and "float" not in bars


def test_single_seeds_have_no_error_bars_and_no_words_about_them():
    picture = front_picture(made([record("a"), record("b", budget={"bops": 1.0}, limits={"bops": 1e9})]))
    assert "error-bar" not in picture.svg
    assert not any("deviation" in note for note in picture.notes)


def test_rejected_trials_are_crosses_ticks_or_words():
    lost = record("lost", status="failed", reason="no result.", metrics={}, costs={}, stage="searched")
    picture = front_picture(made([*records(), lost]))
    tags = Tags(picture.svg)
    assert [a["data-id"] for a in tags.of_kind("rejected")] == ["s3"]
    [tick] = tags.of_kind("rejected-limit")
    assert (tick["data-id"], tick["data-x"], tick["y"]) == ("s4", "650", "380")
    assert any(note.startswith("One rejected trial was not measured") for note in picture.notes)


@pytest.mark.parametrize(
    "front",
    [
        made([record("a", costs={"weight_bytes": 0, "bops": 0}), record("b")]),
        made([record("a")]),
        made([row for row in records() if row.kind != "search"]),
        made([record("a", metrics={"accuracy": 0.5})], objectives=OBJECTIVES[:3]),
    ],
    ids=["cost_0", "one", "references", "no_test_metric"],
)
def test_odd_fronts_have_a_figure_or_none(front):
    picture = front_picture(front)
    drawn = [row for row in front["points"] + front["references"] if "test_accuracy" in row["metrics"]]
    found = 0 if picture is None else len([1 for _, a in Tags(picture.svg).found if "data-id" in a])
    assert found == len(drawn)


def test_an_empty_front_has_no_figure():
    assert front_picture(made([])) is None


def test_a_logarithm_is_taken_only_where_costs_allow_it():
    front = made([record("a", costs={"weight_bytes": 0, "bops": 0}), record("b")])
    assert {float(a["data-x"]) for a in Tags(front_picture(front).svg).of_kind("search")} == {0, 600}


def test_each_controller_has_its_own_shape_and_colour():
    names = ["dbp", "edge", "gumbel", "nce", "random", "softmax"]
    front = made([record(name, controller=name) for name in names])
    assert len(set(styles_of(front).values())) == len(names)


def test_names_in_the_figure_are_text():
    front = made([record("a", controller="<script>")])
    assert "<script" not in front_picture(front).svg and "&lt;script&gt;" in front_picture(front).svg


def test_a_metric_that_is_no_fraction_keeps_its_unit():
    loss = {"name": "loss", "direction": "min", "unit": "nat", "kind": "metric", "on_front": True}
    front = made([record("a", metrics={"loss": 1.25})], objectives=[loss, OBJECTIVES[2]])
    picture = front_picture(front)
    assert (picture.above, percent_of(front, 1.25)) == ("loss [nat]", "1.25")
    assert Tags(picture.svg).of_kind("search")[0]["data-y"] == "1.25"
