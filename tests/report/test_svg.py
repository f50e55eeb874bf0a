"""Tests of mpnas/report/svg.py."""

import pytest
from markupsafe import Markup

from mpnas.report.svg import Axes, Scale, around, frame, line, mark, percent, short_amount, tag


@pytest.mark.parametrize(
    "scale, value, share",
    [(Scale(2, 6), 3, 0.25), (Scale(1, 10000, log=True), 100, 0.5), (Scale(-1, 1), 1, 1.0)],
    ids=["linear", "log", "end"],
)
def test_a_number_lies_at_its_share_of_the_scale(scale, value, share):
    assert scale.share(value) == pytest.approx(share)


@pytest.mark.parametrize(
    "scale, most, expected",
    [
        (Scale(0, 1), 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Scale(0.13, 0.31), 4, [0.15, 0.2, 0.25, 0.3]),
        (Scale(0, 97), 4, [0, 25, 50, 75]),
        (Scale(600, 1200, log=True), 4, [600, 800, 1000, 1200]),
        (Scale(80, 120_000, log=True), 4, [100, 1000, 10_000, 100_000]),
        (Scale(1, 1e12, log=True), 5, [1, 1e3, 1e6, 1e9, 1e12]),
    ],
    ids=["fifths", "inside", "quarters", "short_log", "decades", "many_decades"],
)
def test_ticks_are_round_and_few(scale, most, expected):
    assert scale.ticks(most) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[3.0], [0.0], [5.0, 5.0]], ids=str)
@pytest.mark.parametrize("log", [False, True])
def test_equal_numbers_still_have_a_scale(values, log):
    if log and not values[0]:
        return
    scale = around(values, log=log)
    assert scale.low < values[0] < scale.high and scale.ticks()


def test_the_top_is_the_largest_number_and_the_left_the_smallest():
    axes = Axes(Scale(0, 8), Scale(10, 20), 200)
    assert (axes.left(2), axes.top(20), axes.top(12.5)) == ("25%", 0, 150)


def test_values_of_attributes_and_text_are_escaped_and_elements_are_not():
    made = tag("g", tag("b"), "<i>", Markup("<u></u>"), data_id='"><script>')
    assert str(made) == '<g data-id="&#34;&gt;&lt;script&gt;"><b></b>&lt;i&gt;<u></u></g>'


def test_a_mark_carries_its_numbers_exactly_and_its_words():
    made = str(mark(Axes(Scale(0, 1), Scale(0, 1), 100), 0.1, 1 / 3, "M0 0", "a & b", data_id="p000"))
    assert 'x="10%" y="66.67"' in made
    assert 'data-x="0.1" data-y="0.3333333333333333"' in made
    assert "<title>a &amp; b</title>" in made


def test_a_step_keeps_its_height_until_the_next_point():
    axes = Axes(Scale(0, 4), Scale(0, 10), 50)
    points = [(0, 0), (1, 5), (4, 10)]
    assert 'd="M0.000 50.00H25.000V25.00H100.000V0.00"' in line(axes, points, step=True)
    assert 'd="M0.000 50.00L25.000 25.00L100.000 0.00"' in line(axes, points)


def test_a_frame_has_a_line_and_a_word_for_each_tick():
    made = str(frame(Axes(Scale(0, 1), Scale(0, 1), 100), [(0.5, "half")], [(0, "none"), (1, "all")]))
    assert made.count('class="grid"') == 3
    assert all(f">{word}</text>" in made for word in ("half", "none", "all"))


@pytest.mark.parametrize(
    "value, text",
    [(78248, "78.25k"), (0.05, "0.05"), (1e6, "1M"), (2.5e9, "2.5G"), (3e20, "3e+20"), (-1500, "-1.5k")],
)
def test_amounts_are_short(value, text):
    assert short_amount(value) == text


def test_percentages_lose_their_zeros():
    assert [percent(share) for share in (0, 1, 1 / 3)] == ["0%", "100%", "33.333%"]
