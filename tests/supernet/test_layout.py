"""Tests of mpnas/supernet/layout.py."""

from mpnas.supernet.axes import Channels
from mpnas.supernet.layout import windowed


def test_windows_freeze_what_they_touch_only():
    channels = Channels()
    axes = channels.fresh((2, 4, 4, 6))
    result = windowed(channels, axes, (2, 2, 4, 6), {2}, "pooled")
    assert [axis.frozen for axis in axes] == [None, "pooled", "pooled", None]
    assert result[3] is axes[3] and result[1] is not axes[1] and result[1].size == 2
