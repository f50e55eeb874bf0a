"""Random crops and flips of a whole batch of images at once.

Source: He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, section 4.2 (CIFAR-10: 4 pixels of
zeros on each side, a random crop of the original size, a random horizontal flip).
"""

import dataclasses

import numpy as np
from jaxtyping import Shaped

from mpnas.errors import DataError


@dataclasses.dataclass(frozen=True)
class PadCropFlip:
    """Each image moved by up to `pad` pixels each way, and mirrored left to right half of the time.

    Attributes:
      pad: Largest shift in pixels, >= 0; what comes in from outside is 0.
      flip: Whether to mirror; off where mirrored examples change their class (digits, text).
    """

    pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"PadCropFlip needs pad >= 0 pixels, got {self.pad}.")

    def __call__(
        self, x: Shaped[np.ndarray, "batch height width channels"], rng: np.random.Generator
    ) -> Shaped[np.ndarray, "batch height width channels"]:
        """A new batch like `x`, each image with a shift and a mirroring of its own.

        Args:
          x: Images; unchanged.
          rng: Source of the draws: two shifts and a coin per image.

        Raises:
          DataError: `x` has not four axes.
        """
        if x.ndim != 4:
            raise DataError(
                f"PadCropFlip needs images (batch, height, width, channels), got shape {x.shape}. "
                "Use a data set without augmentation for inputs that are no images."
            )
        count, height, width, _ = x.shape
        tops, lefts = rng.integers(0, 2 * self.pad + 1, (2, count))
        mirrored = rng.random(count) < 0.5
        border = (self.pad, self.pad)
        padded = np.pad(x, ((0, 0), border, border, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        # Channels last again before picking, so that a row of pixels is copied in one piece.
        moved = windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(count), tops, lefts]
        if self.flip:
            moved[mirrored] = moved[mirrored, :, ::-1]
        return moved
