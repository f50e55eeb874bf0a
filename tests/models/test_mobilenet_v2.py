"""Tests of mpnas/models/mobilenet_v2.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from published import counts

from mpnas.models import MobileNetV2
from mpnas.models.mobilenet_v2 import EPSILON, InvertedResidual, _rounded


def test_width_1_has_torchvisions_parameters_and_macs():
    # torchvision's MobileNet_V2_Weights.IMAGENET1K_V1: num_params 3504872, 0.301 GFLOPS (multiply-adds).
    parameters, _, macs, _ = counts(MobileNetV2, (224, 224, 3))
    assert parameters == 3_504_872
    assert round(macs / 1e9, 3) == 0.301


@pytest.mark.parametrize("width, millions, mega_macs", [(1.4, 6.06, 582), (0.5, 1.95, 97), (0.35, 1.66, 59)])
def test_other_widths_are_those_of_the_authors_table(width, millions, mega_macs):
    # github.com/tensorflow/models, mobilenet_v2 at 224: MACs (M) and parameters (M) of each checkpoint;
    # it counts a class more than ImageNet has, and leaves the statistics of the normalisations out.
    parameters, _, macs, _ = counts(MobileNetV2, (224, 224, 3), width=width, classes=1001)
    assert parameters / 1e6 == pytest.approx(millions, rel=0.03)
    assert macs / 1e6 == pytest.approx(mega_macs, rel=0.015)


def test_channels_are_multiples_of_8_and_never_much_below_what_was_asked():
    assert [_rounded(c) for c in (1, 11.9, 12, 16.8, 24, 44.8, 448)] == [8, 16, 16, 16, 24, 48, 448]
    assert all(_rounded(c) % 8 == 0 and _rounded(c) >= 0.9 * c for c in np.linspace(0.1, 400, 999))


def block_by_formula(block, x):
    """In evaluation mode, by loops over windows; of stride 1."""
    def normal(bn, y):
        unit = (y - np.asarray(bn.mean)) / np.sqrt(np.asarray(bn.var) + EPSILON)
        return unit * np.asarray(bn.scale) + np.asarray(bn.bias)

    y = x
    if block.expands:
        y = np.clip(normal(block.expand_bn, y @ np.asarray(block.expand.kernel)[0, 0]), 0, 6)
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = x.shape[1:3]
    kernel = np.asarray(block.depthwise.kernel)[:, :, 0]
    y = sum(padded[:, r:r + rows, c:c + columns] * kernel[r, c] for r in range(3) for c in range(3))
    y = np.clip(normal(block.depthwise_bn, y), 0, 6)
    y = normal(block.project_bn, y @ np.asarray(block.project.kernel)[0, 0])
    return x + y if block.adds else y


@pytest.mark.parametrize("out_channels, expansion, adds", [(4, 3, True), (5, 3, False), (4, 1, True)])
def test_block_in_evaluation_is_its_formula(flax_mode, out_channels, expansion, adds):
    block = InvertedResidual(4, out_channels, expansion, stride=1, rngs=nnx.Rngs(0))
    draw = np.random.default_rng(1)
    nnx.update(block, jax.tree.map(
        lambda leaf: jnp.asarray(draw.uniform(0.1, 1.0, leaf.shape), leaf.dtype), nnx.state(block)
    ))
    block.eval()
    assert block.adds is adds
    x = draw.normal(size=(2, 5, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(block(jnp.asarray(x)), block_by_formula(block, x), rtol=1e-4, atol=1e-4)


def test_small_images_are_halved_thrice():
    _, _, _, work = counts(MobileNetV2, (32, 32, 3), small_images=True, classes=10)
    assert work.layer["stem"].macs == 32 * 32 * 27 * 32
    assert work.layer["last"].macs == 4 * 4 * 320 * 1280
