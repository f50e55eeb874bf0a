"""Rules: which layers are searched, with which candidates, by glob patterns over module paths.

A rule names layers (`stack*/conv1`) and says what it changes for them; later rules win, key by key.
Rules come from a TOML file of `search_spaces/`, or are written in Python; they become a `Space` once
the work of a network is known.
"""

import dataclasses
from typing import ClassVar, Literal

from mpnas.errors import SearchSpaceError
from mpnas.quant.format import FLOAT_BITS, INTEGER_BITS, PRUNED_BITS
from mpnas.space.words import WORDS, refusal

MOST_WIDTH = 16  # times the channels of the given network
ALLOWED_BITS = (PRUNED_BITS, *INTEGER_BITS, FLOAT_BITS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What to offer at the layers whose path matches; None leaves what earlier rules said.

    Attributes:
      match: Glob over layer paths: `*`, `stack?/conv1`, `head`. `*` also crosses `/`. Or `@first`,
        `@last`, `@ends`: the first layer of the program, the last one, both.
      weights: Bit-widths for the weights, of 0..8, 16, 32; 0 removes channels; [] leaves them float.
      activations: The same for what the layer reads, without 0.
      granularity: Who chooses together: `layer`, `channel`, or a number of channels (a subgroup).
      scale: Who shares a scale: the same words.
      weight_range: Where the scale of weights comes from: `learned` (LSQ), `minmax`, `percentile`, `mse`
        (a sweep), `octav`, `dorefa` (tanh), `entropy` (codes used evenly), or `pow2` (learned range,
        power-of-two step).
      activation_range: The same for activations: `learned`, `pact` or `pow2` are trained; `moving`
        averages the extremes of batches, `percentile`, `mse` and `octav` ends that clip.
      weight_gradient: The derivative that quantizing weights pretends: `clipped` (1, beyond the range
        0), `ste` (1 everywhere), `mad` (beyond the range end / x), `ewgs` or `atanh` (as `clipped`, more
        on one side of a code than on the other).
      activation_gradient: The same for activations.
      widths: Shares of the layer's channels to choose from, each > 0: `(0.5, 1, 1.5)`. Layers whose outputs
        are added have one width together; [] keeps the channels.
      width_mix: What a mixture of widths does with channels that the narrower ones lack: `mask` leaves
        them at zero, `interpolate` stretches those that are there (NCE).

    Raises:
      SearchSpaceError: a bit-width, a word or a size that is not allowed, or 0 bits for activations.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    match: str
    weights: tuple[int, ...] | None = None
    activations: tuple[int, ...] | None = None
    granularity: Literal["layer", "channel"] | int | None = None
    scale: Literal["layer", "channel"] | int | None = None
    weight_range: str | None = None
    activation_range: str | None = None
    weight_gradient: str | None = None
    activation_gradient: str | None = None
    widths: tuple[float, ...] | None = None
    width_mix: Literal["mask", "interpolate"] | None = None

    def __post_init__(self) -> None:
        for key in ("weights", "activations"):
            values = getattr(self, key)
            for bits in values or ():
                if bits not in ALLOWED_BITS:
                    raise SearchSpaceError(
                        f"rule '{self.match}' offers {bits} bits in '{key}'; "
                        f"allowed are {', '.join(map(str, ALLOWED_BITS))}."
                    )
            if values is not None:
                object.__setattr__(self, key, tuple(sorted(set(values))))
        if self.activations and self.activations[0] == 0:
            raise SearchSpaceError(
                f"rule '{self.match}' offers 0 bits for activations. Channels are removed by 0 bits in "
                "'weights'; delete the 0 here."
            )
        if self.widths is not None:
            object.__setattr__(self, "widths", tuple(sorted(set(self.widths))))
            if any(not 0 < share <= MOST_WIDTH for share in self.widths):
                raise SearchSpaceError(
                    f"rule '{self.match}' offers widths {list(self.widths)}; each is a share of the layer's "
                    f"channels, above 0 and at most {MOST_WIDTH}."
                )
        for key in ("granularity", "scale"):
            size = getattr(self, key)
            if isinstance(size, int) and size < 1:
                raise SearchSpaceError(
                    f"rule '{self.match}' has {key} = {size}; a subgroup needs at least 1 channel."
                )
        for key, words in WORDS.items():
            word = getattr(self, key)
            if isinstance(word, str) and word not in words:
                raise SearchSpaceError(f"rule '{self.match}' has {refusal(key, word)}")
