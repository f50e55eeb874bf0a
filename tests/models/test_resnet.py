"""Tests of mpnas/models/resnet.py."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from published import counts

from mpnas.models import resnet18, resnet20


def test_resnet18_has_torchvisions_parameters_and_macs():
    # torchvision's ResNet18_Weights.IMAGENET1K_V1: num_params 11689512, 1.814 GFLOPS (multiply-adds).
    parameters, statistics, macs, _ = counts(resnet18, (224, 224, 3))
    assert parameters == 11_689_512
    assert round(macs / 1e9, 3) == 1.814
    # A mean and a variance for 64 + 4 * 64 channels, 5 * 128, 5 * 256 and 5 * 512.
    assert statistics == 2 * (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512)


def test_resnet18_for_small_images_differs_in_its_stem():
    parameters, _, macs, work = counts(resnet18, (32, 32, 3), classes=10, small_images=True)
    # Counted on the published network: its 7x7 stem and its head go, a 3x3 stem and a head of 10 come.
    assert parameters == 11_689_512 - 49 * 3 * 64 - 513 * 1000 + 9 * 3 * 64 + 513 * 10
    stack1 = 4 * 1024 * 9 * 64 * 64
    # A stack halves the image and doubles the channels: 3 + 1/2 of the convolutions of the first one,
    # and a 1x1 convolution of 1/9 * 1/2 of one.
    later = 3 * (stack1 // 4 * 7 // 2 + stack1 // 4 // 18)
    assert macs == 1024 * 27 * 64 + stack1 + later + 5120
    assert work.layer["block1_1/conv1"].macs == stack1 // 4


def test_resnet20_has_the_published_size_and_macs():
    # He et al., table 6: 0.27 M; the shortcuts are 2,752 more than the zero padding of option A.
    parameters, _, macs, _ = counts(resnet20, (32, 32, 3))
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert parameters == 269_722 + shortcuts == 272_474
    conv = 1024 * 9 * 16 * 16
    assert macs == 1024 * 27 * 16 + 6 * conv + 2 * (5 * conv + conv // 2 + conv // 18) + 640 == 40_813_184


@pytest.mark.parametrize("small_images, side", [(False, 64), (True, 16)])
def test_images_are_halved_five_times_or_thrice(small_images, side):
    model = nnx.eval_shape(lambda: resnet18(width=4, small_images=small_images, rngs=nnx.Rngs(0)))
    model.eval()
    model.dense = nnx.Linear(32, 7, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    seen = []

    def logits(state, x):
        merged = nnx.merge(graph, state)
        call = merged.block4_2
        merged.block4_2 = lambda x: seen.append(x.shape) or call(x)
        return merged(x)

    made = jax.eval_shape(logits, state, jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32))
    assert seen == [(2, 2, 2, 32)] and made.shape == (2, 7)


def test_every_parameter_gets_a_gradient(flax_mode):
    model = resnet18(classes=3, width=2, small_images=True, rngs=nnx.Rngs(0))
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))

    def loss(parameters):
        logits = nnx.merge(graph, parameters, rest, copy=True)(x)
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(parameters))
    assert all(float(jnp.abs(gradient).max()) > 0 for gradient in gradients)
