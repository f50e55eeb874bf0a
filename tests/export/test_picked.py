"""Tests of mpnas/export/picked.py."""

import numpy as np
from lowered_nets import LEARNED, calibrated, dense_residual_net, rows

from mpnas.export.picked import picked_quantizers
from mpnas.supernet import discretize
from mpnas.supernet.discretize import kernel_values


def test_kernels_and_inputs_are_those_of_the_discretised_network():
    net, parts = calibrated(dense_residual_net(), rows(64), LEARNED)
    point = net.space.indices(net.space.uniform(8))
    point["first/kernel"] = np.array([4, 0, 1, 2, 3, 1, 4])
    assignment = net.space.from_indices(point)
    model = discretize(net, parts, assignment)
    layers = picked_quantizers(model, ["stem", "first"])
    first = layers["first"].numbers
    assert first["bits"].tolist() == [8, 1, 2, 4, 1, 8], "the removed channel is gone"
    assert first["midrise"].tolist() == [False, True, False, False, True, False]
    levels = np.where(first["midrise"], 2 * first["codes"] + 1, first["codes"] - first["zero_point"])
    values = (levels * layers["first"].scale).astype(np.float32)
    np.testing.assert_array_equal(values, np.asarray(kernel_values(model, "first")))
    # After a ReLU codes start at 0; the network's own input is signed.
    assert (layers["first"].grid.low, layers["first"].grid.high) == (0, 255)
    assert (layers["stem"].grid.low, layers["stem"].grid.high) == (-128, 127)
    step = np.asarray(parts.ranges["stem/input"]["8/step"])[0]
    assert layers["stem"].grid.step == float(step)
