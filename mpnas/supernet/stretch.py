"""Stretching: channel-wise interpolation between networks of different widths.

A mixture of widths adds outputs with different numbers of channels; each is first stretched over the
channels of the widest by adaptive average pooling along the channel axis. That is linear in the
channels, so it is done once, to the kernel that reads them: `K'[c] = sum_i M[i, c] K[i]`.

Source: Dong and Yang, TAS, NeurIPS 2019, https://arxiv.org/abs/1905.09717, eq. (5); as used by Park
et al., NCE, 2022, https://arxiv.org/abs/2212.10878.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.space import Lanes


def stretch_matrix(
    gates: Float[Array, "widths"], counts: tuple[int, ...], size: int
) -> Float[Array, "size size"]:
    """`M = sum_j gates[j] M_j`: channel i of the mixture as a mean of channels c of each width.

    Args:
      gates: Share of each width; widths whose share is 0 do not count towards the widest.
      counts: Channels of each width, ascending.
      size: Channels that the network holds, at least the widest count.

    Returns:
      Rows are channels of the mixture, `(size, size)`. One width alone gives the identity on its
      channels and zeros beyond.

    >>> stretch_matrix(jnp.array([0.5, 0.5]), (1, 2), 2)
    Array([[1. , 0. ],
           [0.5, 0.5]], dtype=float32)
    """
    channels = np.arange(size)
    used = jax.lax.stop_gradient(gates) > 0
    widest = jnp.max(jnp.where(used, jnp.asarray(counts), 0))
    total = jnp.zeros((size, size))
    for share, count in zip(gates, counts, strict=True):
        first = channels * count // widest
        last = -((-(channels + 1) * count) // widest)  # rounded up
        inside = (channels >= first[:, None]) & (channels < last[:, None]) & (channels < widest)[:, None]
        total = total + share * inside / jnp.maximum(last - first, 1)[:, None]
    return total


def stretched_kernel(
    kernel: Array, axis: int, lanes: Lanes, matrices: Mapping[str, Float[Array, "size size"]]
) -> Array:
    """A kernel that reads stretched channels along `axis`.

    Args:
      kernel: As stored.
      axis: The axis of the channels that it reads.
      lanes: Which channels those are.
      matrices: Group -> `stretch_matrix`; other groups are read as they are.
    """
    rows = jnp.moveaxis(kernel, axis, 0)
    parts, start = [], 0
    for group, channels in lanes.runs:
        part = rows[start : start + len(channels)]
        start += len(channels)
        if group in matrices:
            matrix = matrices[group].astype(kernel.dtype)
            blocks = part.reshape(-1, matrix.shape[0], *part.shape[1:])
            part = jnp.einsum("ic,bi...->bc...", matrix, blocks).reshape(part.shape)
        parts.append(part)
    return jnp.moveaxis(jnp.concatenate(parts), 0, axis)
