"""Tests of mpnas/report/plots.py."""

import sys

import numpy as np
import pytest
from front_maker import OBJECTIVES, RUN, made, record, records
from matplotlib.image import imread
from sweep_maker import sweep

from mpnas.report.plots import bits_png, front_png


def drawn(path):
    """The picture's pixels; fails if the file is no PNG."""
    pixels = imread(path)
    assert pixels.ndim == 3 and min(pixels.shape[:2]) > 200
    return pixels


def ink(path):
    """Share of pixels that are not white."""
    return float((drawn(path)[..., :3] < 0.99).any(axis=-1).mean())


@pytest.mark.parametrize(
    "front",
    [
        sweep(),
        made(),
        made([]),
        made([record("a")]),
        made([row for row in records() if row.kind != "search"]),
        made([record("a", controller=None), record("b", costs={"weight_bytes": 0, "bops": 0})]),
        made([record("a", metrics={"accuracy": 0.5})]),
        made(objectives=[OBJECTIVES[0], OBJECTIVES[2]]),
    ],
    ids=["sweep", "small", "empty", "one", "references", "cost_0", "no_test", "select_only"],
)
def test_every_front_can_be_drawn(front, tmp_path):
    front_png(front, tmp_path / "front.png")
    assert ink(tmp_path / "front.png") > 0.005


def test_points_leave_their_colour(tmp_path):
    front_png(sweep(), tmp_path / "front.png")
    pixels = drawn(tmp_path / "front.png")[..., :3]
    for colour in ("#d55e00", "#ffd166"):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(pixels - rgb) < 0.01).all(axis=-1).sum() > 50


def test_a_name_with_dollars_is_text_and_not_mathematics(tmp_path):
    run = RUN | {"model": RUN["model"] | {"name": r"$\frac{$"}}
    front = made([record("a", controller=r"$\broken$"), record("_b", controller="_b")], run=run)
    front_png(front, tmp_path / "front.png")
    bits_png(front, front["points"][0], tmp_path / "bits.png")
    assert ink(tmp_path / "front.png") > 0.005


def test_each_layer_adds_a_row(tmp_path):
    small, large = made(), sweep()
    bits_png(small, small["points"][0], tmp_path / "small.png")
    bits_png(large, large["points"][0], tmp_path / "large.png")
    assert drawn(tmp_path / "large.png").shape[0] > drawn(tmp_path / "small.png").shape[0]


def test_each_bit_width_has_its_colour(tmp_path):
    front = made()
    bits_png(front, front["points"][0], tmp_path / "bits.png")
    pixels = drawn(tmp_path / "bits.png")[..., :3]
    for colour in ("#3e4989", "#35b779", "#b5de2b", "#eceef1"):  # 8, 4, 2 bits and none
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(pixels - rgb) < 0.01).all(axis=-1).sum() > 1000, colour


def test_a_float_network_without_bits_can_be_drawn(tmp_path):
    front = made()
    bits_png(front, front["references"][0], tmp_path / "bits.png")
    assert ink(tmp_path / "bits.png") > 0


def test_drawing_leaves_no_figure_open(tmp_path):
    front_png(made(), tmp_path / "front.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
