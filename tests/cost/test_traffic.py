"""Tests of mpnas/cost/traffic.py."""

from cost_spaces import chain, residual, separable, space_of

from mpnas.cost.traffic import activation_traffic, weight_traffic
from mpnas.space import usage


def used(net, **indices):
    space = space_of(net)
    chosen = space.indices(space.uniform(8)) | {k.replace("_", "/"): v for k, v in indices.items()}
    return space, usage(space, space.one_hot(space.from_indices(chosen)))


def test_weights_are_those_between_channels_that_exist():
    space, use = used(chain, a_kernel=[0, 3, 2, 1])  # removed, 8, 4 and 2 bits
    assert weight_traffic(use, space.work.layer["a"]) == 18 * (8 + 4 + 2)
    assert weight_traffic(use, space.work.layer["b"]) == 3 * 3 * 8


def test_depthwise_weights_are_read_per_channel():
    space, use = used(separable, wide_channels=[0, 1, 1, 1, 1])
    assert weight_traffic(use, space.work.layer["each"]) == 4 * 9 * 8


def test_input_is_written_and_read_at_its_width_by_channels_that_exist():
    space, use = used(residual, stem_channels=[0, 0, 1, 1], inner_input=[0])  # 4 bits
    assert activation_traffic(space, use, space.work.layer["inner"]) == 2 * 18 * 4
    assert activation_traffic(space, use, space.work.layer["conv"]) == 2 * 54 * 8
