"""The 1,797 handwritten digits that come inside scikit-learn: no download, 8x8 pixels.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).
"""

from pathlib import Path

import numpy as np

from mpnas.data.augment import PadCropFlip
from mpnas.data.dataset import Dataset
from mpnas.data.split import stratified_order

SELECT_ROWS = 360
TEST_ROWS = 360


def load(data_dir: Path | None = None) -> Dataset:
    """Digits with pixels in [0, 1], shape (8, 8, 1): 1,077 train, 360 select and 360 test rows.

    Args:
      data_dir: Not needed; every loader takes it.
    """
    # Imported late: scikit-learn takes about a second, also for those who load something else.
    from sklearn.datasets import load_digits

    images, labels = load_digits().images, load_digits().target
    order = stratified_order(labels)
    # Ink is counted in 0..16 per pixel, which uint8 holds exactly.
    x, y = images[order, :, :, np.newaxis].astype(np.uint8), labels[order].astype(np.int32)
    select, test = SELECT_ROWS, SELECT_ROWS + TEST_ROWS
    return Dataset(
        name="digits",
        train=(x[test:], y[test:]),
        select=(x[:select], y[:select]),
        test=(x[select:test], y[select:test]),
        classes=10,
        scale=1 / 16,
        input_low=0.0,
        augment=PadCropFlip(pad=1, flip=False),
    )
