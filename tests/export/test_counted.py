"""Tests of mpnas/export/counted.py."""

import pytest
from lowered_nets import LEARNED, NETS, calibrated, random_assignment

from mpnas.cost import Bops, exact_cost
from mpnas.export.counted import bit_operations
from mpnas.export.lower import lower


@pytest.mark.parametrize("name", ["dense_residual", "depthwise"])
def test_bit_operations_of_a_graph_are_those_that_the_cost_counts(name):
    build, inputs = NETS[name]
    net, parts = calibrated(build(), inputs(4), LEARNED)
    for seed in range(2):
        assignment = random_assignment(net, seed)
        graph = lower(net, parts, assignment, inputs(4))
        assert bit_operations(graph) == exact_cost(Bops(), net.space, assignment)
