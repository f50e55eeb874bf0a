"""Figures as text: tags whose every value is escaped, axes, and marks that keep their size.

A figure has a fixed height in pixels and the width of its place: horizontal places are percentages, so
text and marks are as large on a phone as on a desk. Lines are drawn in a stretched box of
100 x height whose strokes are not scaled. Colours and fonts are the style sheet's.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

SHAPES = (
    "M-4.6 0A4.6 4.6 0 1 1 4.6 0A4.6 4.6 0 1 1-4.6 0Z",  # a disc
    "M0-5.6L5.3 3.7H-5.3Z",
    "M0-6L5.4 0L0 6L-5.4 0Z",
    "M0 5.6L5.3-3.7H-5.3Z",
    "M-5 0L-2.5-4.6H2.5L5 0L2.5 4.6H-2.5Z",
)
SQUARE, CROSS, TICK = "M-4.3-4.3H4.3V4.3H-4.3Z", "M-3.6-3.6L3.6 3.6M-3.6 3.6L3.6-3.6", "M0 0V-9"


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element; text children and values of attributes are escaped, other `Markup` is kept.

    Args:
      name: Of the element.
      children: Text, or elements.
      attributes: Underlines become hyphens, one at the end is dropped; None leaves the attribute out.

    >>> str(tag("text", "<b>", class_="a", data_id='"', x=None))
    '<text class="a" data-id="&#34;">&lt;b&gt;</text>'
    """
    given = (
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), value)
        for key, value in attributes.items()
        if value is not None
    )
    opening = Markup("<{}{}>").format(Markup(name), Markup("").join(given))
    return opening + Markup("").join(escape(child) for child in children) + Markup(f"</{name}>")


def exact(value: float) -> str:
    """A number as JSON writes it: what `data-x` and `data-y` of a mark hold.

    >>> exact(2900.75), exact(622)
    ('2900.75', '622')
    """
    return repr(value)


def percent(share: float) -> str:
    """A share as a horizontal place, rounded to a thousandth of a percent.

    >>> percent(0.25)
    '25%'
    """
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Numbers along an axis.

    Attributes:
      low, high: Its ends; low < high, and > 0 where it is logarithmic.
      log: Whether equal steps are equal ratios.
    """

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a number lies: 0 at the low end, 1 at the high one."""
        low, high, value = map(math.log if self.log else float, (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within the axis, `most` or a few less.

        >>> Scale(0, 10).ticks(), Scale(90, 2000, log=True).ticks()
        ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [100.0, 200.0, 500.0, 1000.0, 2000.0])
        """
        if self.log and self.high / self.low > 5:
            return _log_ticks(self.low, self.high, most)
        raw = (self.high - self.low) / max(most, 1)
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors]
        found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def around(values: Sequence[float], *, log: bool = False, room: float = 0.06) -> Scale:
    """An axis that holds `values` with some room at its ends.

    >>> around([1.0, 2.0], room=0.5)
    Scale(low=0.5, high=2.5, log=False)
    """
    low, high = min(values), max(values)
    if log:
        ratio = (high / low) ** room if high > low else 1.5
        return Scale(low / ratio, high * ratio, True)
    more = (high - low) * room if high > low else max(abs(high) * 0.1, 1e-9)
    return Scale(low - more, high + more)


def short_amount(value: float) -> str:
    """A number for a tick, in at most about five characters.

    >>> [short_amount(v) for v in (0, 0.25, 950, 1200, 2e6, 1.5e10)]
    ['0', '0.25', '950', '1.2k', '2M', '15G']
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and abs(value) < size * 1e4:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


@dataclasses.dataclass(frozen=True)
class Axes:
    """The two scales of a figure, and its height in pixels."""

    x: Scale
    y: Scale
    height: int

    def left(self, value: float) -> str:
        """The horizontal place of a number, as a percentage."""
        return percent(self.x.share(value))

    def top(self, value: float) -> float:
        """The vertical place of a number, in pixels from the top."""
        return round(self.height * (1 - self.y.share(value)), 2)


def frame(axes: Axes, x_ticks: Iterable[tuple[float, str]], y_ticks: Iterable[tuple[float, str]]) -> Markup:
    """Grid lines with their labels, and the base line."""
    parts = []
    for value, label in y_ticks:
        top = axes.top(value)
        parts.append(tag("line", class_="grid", x1="0", x2="100%", y1=top, y2=top))
        parts.append(tag("text", label, class_="tick", x="0", dx="-8", y=top, dy="0.32em", text_anchor="end"))
    for value, label in x_ticks:
        left = axes.left(value)
        parts.append(tag("line", class_="grid", x1=left, x2=left, y1="0", y2=axes.height))
        parts.append(tag("text", label, class_="tick", x=left, y=axes.height + 18, text_anchor="middle"))
    parts.append(tag("line", class_="base", x1="0", x2="100%", y1=axes.height, y2=axes.height))
    return Markup("").join(parts)


def line(
    axes: Axes, points: Sequence[tuple[float, float]], *, step: bool = False, **attributes: object
) -> Markup:
    """A line through numbers; `data-x` and `data-y` hold them.

    Args:
      axes: Where.
      points: (x, y) in the order to be joined.
      step: Whether the height stays until the next point is reached.
      attributes: More of the element, such as `class_` and `data_id`.
    """
    places = [(100 * axes.x.share(x), axes.top(y)) for x, y in points]
    words = ["M{:.3f} {:.2f}".format(*places[0])]
    for x, y in places[1:]:
        words.append(f"H{x:.3f}V{y:.2f}" if step else f"L{x:.3f} {y:.2f}")
    path = tag(
        "path", d="".join(words), vector_effect="non-scaling-stroke",
        data_x=" ".join(exact(x) for x, _ in points), data_y=" ".join(exact(y) for _, y in points),
        **attributes,
    )
    box = {"viewBox": f"0 0 100 {axes.height}", "preserveAspectRatio": "none"}
    return tag("svg", path, class_="stretched", width="100%", height=axes.height, **box)


def mark(
    axes: Axes, x: float, y: float, shape: str, words: str, *, top: float | None = None, **attributes: object
) -> Markup:
    """A mark at (x, y) with a wider place to touch it; `words` are said when it is touched.

    Args:
      axes: Where.
      x, y: Its numbers; also in `data-x` and `data-y`.
      shape: A path around (0, 0).
      words: What it is.
      top: Pixels from the top, for a mark that is not at the height of `y`.
      attributes: More of the element, such as `class_` and `data_id`.
    """
    inner = [
        tag("title", words), tag("circle", r="10", class_="touch"), tag("path", d=shape, class_="shape"),
    ]
    place = {"x": axes.left(x), "y": axes.top(y) if top is None else top}
    return tag("svg", *inner, **place, tabindex="0", data_x=exact(x), data_y=exact(y), **attributes)


def figure(axes: Axes, name: str, words: str, *parts: str) -> Markup:
    """The whole figure; `name` and `words` are for those who hear it."""
    return tag(
        "svg", tag("title", name), tag("desc", words), *parts,
        class_="plot", role="img", aria_label=name, height=axes.height,
    )


def glyph(shape: str, class_: str) -> Markup:
    """A mark for a legend."""
    return tag(
        "svg", tag("path", d=shape, class_="shape"),
        class_=f"glyph {class_}", viewBox="-8 -8 16 16", width="16", height="16", aria_hidden="true",
    )
