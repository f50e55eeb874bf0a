"""Terms of the training loss: hard labels, soft labels of a teacher, and bins of quantised weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mpnas.quant import IntFormat, Quantizer
from mpnas.space import Gates
from mpnas.supernet import Parts, Supernet
from mpnas.supernet.operand import range_entries

MOST_BINS_BITS = 8  # a 16-bit grid has more bins than a layer has weights


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, "batch"], smoothing: float
) -> Float[Array, ""]:
    """Mean negative log-likelihood in nats, with `smoothing` of the mass spread over all classes."""
    log_p = jax.nn.log_softmax(logits)
    hard = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return jnp.mean((1 - smoothing) * hard - smoothing * jnp.mean(log_p, axis=1))


def soft_cross_entropy(
    logits: Float[Array, "batch classes"], teacher: Float[Array, "batch classes"], temperature: float
) -> Float[Array, ""]:
    """`-T^2 mean_batch sum_classes p_teacher log p_student`, both softened by T; in nats.

    Source: Huang et al., SDQ, 2022, phase 2 (T = 1, no hard labels); T^2 after Hinton et al., 2015.
    """
    p = jax.nn.softmax(jax.lax.stop_gradient(teacher) / temperature)
    log_q = jax.nn.log_softmax(logits / temperature)
    return -(temperature**2) * jnp.mean(jnp.sum(p * log_q, axis=1))


def bin_regularizer(net: Supernet, parts: Parts, gates: Gates) -> Any:
    """`mean_layers sum_bins (mean_bin - centre)^2 + var_bin`, weights measured in quantisation steps.

    A bin holds the weights of one layer that are rounded to the same code of the same candidate; with
    one-hot gates only weights whose decision picks that candidate count, with soft ones each by its
    gate. Scales get no gradient: the term moves weights to centres, not centres to weights.

    The paper measures weights that are normalised for entropy, and sums over layers. The normalisation is
    a scale (`weight_range = "entropy"`): under it, and for one layer of b bits, this is the paper's term
    times `((2^b - 1) / 2)^2`, the square of a level's distance. Other scales keep their own bins.

    Source: Huang et al., SDQ, 2022, https://arxiv.org/abs/2206.04459, entropy-aware bin regularisation.
    """
    kernels = net.kernels(parts.params)
    total: Any = 0.0
    for site, kernel in kernels.items():
        choice = net.space.choices[site]
        for k, candidate in enumerate(choice.candidates):
            fmt = candidate.format if isinstance(candidate, Quantizer) else None
            if not isinstance(fmt, IntFormat) or fmt.bits > MOST_BINS_BITS:
                continue
            picked = choice.granularity.expand(gates[site][:, k], kernel.shape)
            picked = jnp.broadcast_to(picked, kernel.shape)
            total = total + _bins(candidate, fmt, kernel, range_entries(parts.ranges[site], fmt.bits), picked)
    return total / max(len(kernels), 1)


def _bins(candidate: Any, fmt: IntFormat, kernel: Array, ranges: Any, picked: Array) -> Any:
    scale = candidate.granularity.expand(candidate.range(kernel, ranges).scale, kernel.shape)
    steps = (candidate.shape(kernel, ranges) / jax.lax.stop_gradient(scale)).ravel()
    codes = jnp.round(jnp.clip(steps - fmt.offset, fmt.qmin, fmt.qmax))
    bins = jax.lax.stop_gradient(codes - fmt.qmin).astype(jnp.int32)
    weight = picked.ravel()
    count = jax.ops.segment_sum(weight, bins, 2**fmt.bits)
    inside = jnp.maximum(count, 1)
    mean = jax.ops.segment_sum(weight * steps, bins, 2**fmt.bits) / inside
    square = jax.ops.segment_sum(weight * (steps - mean[bins]) ** 2, bins, 2**fmt.bits) / inside
    centre = jnp.arange(2**fmt.bits) + fmt.qmin + fmt.offset
    return jnp.sum(jnp.where(count > 0, (mean - centre) ** 2 + square, 0.0))
