"""Tests of mpnas/export/storage.py: the layers of lowered networks, whose channels were sorted."""

import pytest
from lowered_nets import LEARNED, NETS, calibrated, random_assignment
from packed_graphs import assert_same

from mpnas.cost import WeightBytes, exact_cost
from mpnas.export.lower import lower
from mpnas.export.pack import pack
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.space import Rule

SUBGROUPS = Rule(match="*", weights=(0, 3, 8), activations=(8,), granularity=2, scale=2)


@pytest.mark.parametrize("rule", [LEARNED, SUBGROUPS], ids=["channel", "subgroup"])
@pytest.mark.parametrize("name", list(NETS))
def test_lowered_networks_take_what_the_memory_cost_says(name, rule):
    make, inputs = NETS[name]
    x = inputs(16)
    net, parts = calibrated(make(), x, rule)
    assignment = random_assignment(net, 1)
    graph = lower(net, parts, assignment, x[:1])
    packed = pack(graph, storage_of(net.space, assignment))
    assert packed.weight_bits == 8 * exact_cost(WeightBytes(), net.space, assignment)
    assert_same(unpack(packed.data), graph)
