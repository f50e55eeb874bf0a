"""Tests of mpnas/report/bits_figure.py."""

import pytest
from front_maker import SITES, made, record
from page_tags import Tags

from mpnas.report.bits_figure import (
    bits_colour, bits_style, layer_rows, other_choices, share_rows, stacked_bar, used_bits,
)


def segments(bar):
    return [(a["data-bits"], a["data-count"], a["x"], a["width"]) for t, a in Tags(bar).found if t == "rect"]


def test_a_layer_is_stacked_by_width_with_most_bits_first():
    front = made()
    first, second, head = layer_rows(front, front["points"][0])
    assert (first.name, first.parameters, head.name) == ("block/conv1", 400, "head")
    assert segments(first.weight) == [
        ("8", "2", "0%", "50%"), ("4", "1", "50%", "25%"), ("0", "1", "75%", "25%"),
    ]
    assert segments(second.activation) == [("8", "1", "0%", "100%")]
    assert head.activation == ""


def test_runs_of_one_width_are_one_segment():
    front = made([record("a", assignment=front_of_runs([[2, 1], [8, 1], [2, 2]]))])
    assert segments(layer_rows(front, front["points"][0])[0].weight) == [
        ("8", "1", "0%", "25%"), ("2", "3", "25%", "75%"),
    ]


def front_of_runs(runs):
    whole = {"granularity": "layer", "bits": 8}
    parts = {"granularity": "channel", "rle": runs}
    return {site: parts if "conv1/kernel" in site else whole for site in SITES}


def test_shares_are_those_of_parameters_and_of_work():
    front = made()
    (_, parameters), (_, macs), (_, activations) = share_rows(front, front["points"][0])
    # 400, 800 and 100 weights; 4000, 8000 and 100 MACs: 8 bits for half, none, and all of them.
    assert [float(s[1]) * 1300 for s in segments(parameters)] == pytest.approx([300, 500, 200, 300])
    assert [float(s[1]) * 12100 for s in segments(macs)] == pytest.approx([2100, 5000, 2000, 3000])
    assert [s[:2] for s in segments(activations)] == [("8", "1.0")]


@pytest.mark.parametrize("dark", [False, True])
def test_every_width_has_a_colour_of_its_own(dark):
    colours = [bits_colour(bits, dark=dark) for bits in range(33)]
    assert len(set(colours)) == 33
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)


def test_more_bits_stand_out_more_from_the_paper():
    def light(colour):
        return sum(w * int(colour[i:i + 2], 16) for w, i in ((0.3, 1), (0.59, 3), (0.11, 5)))

    on_white = [light(bits_colour(bits, dark=False)) for bits in range(1, 33)]
    on_black = [light(bits_colour(bits, dark=True)) for bits in range(1, 33)]
    assert on_white == sorted(on_white, reverse=True) and on_black == sorted(on_black)


def test_a_stranger_s_width_beyond_32_is_drawn_like_32():
    assert bits_colour(64, dark=False) == bits_colour(32, dark=False)


def test_narrow_segments_have_no_number():
    bar = stacked_bar({8: 99, 2: 1}, "channels")
    assert ">8</text>" in bar and ">2</text>" not in bar and "2 bits: 1.0 % (1 of 100 channels)" in bar


def test_masks_and_widths_are_told_in_words():
    sites = SITES | {
        "block/channels": {"kind": "mask", "decisions": 4, "parameters": 0, "macs": 0},
        "block/width": {"kind": "width", "decisions": 1, "parameters": 0, "macs": 0},
    }
    front = made()
    front["run"]["sites"] = sites
    point = front["points"][0]
    point["assignment"] |= {
        "block/channels": {"granularity": "channel", "rle": [[1, 3], [0, 1]]},
        "block/width": {"granularity": "group", "channels": 24},
    }
    assert other_choices(front, point) == [("block/channels", "3 of 4 kept"), ("block/width", "24 channels")]


def test_rules_are_written_for_the_widths_in_use():
    front = made()
    sites = front["run"]["sites"] | {"block/channels": {"kind": "mask", "decisions": 4}}
    mask = {"block/channels": {"granularity": "channel", "rle": [[1, 3], [0, 1]]}}
    used = used_bits(sites, [front["points"][0]["assignment"] | mask])
    assert used == [0, 2, 4, 8]  # a channel that is kept is no channel of one bit
    style = str(bits_style(used))
    assert style.count(".b8{") == 3 and ".b3{" not in style
