"""Tests of mpnas/space/tie.py."""

from mpnas.space import Tie


def test_all_reasons_read_as_one_line():
    reasons = ("added in f (n.py:1)", "multiplied in g (n.py:2)")
    tie = Tie("stem/channels", "channels", ("stem", "conv"), reasons)
    assert tie.why == "added in f (n.py:1); multiplied in g (n.py:2)"
    assert not tie.searched
