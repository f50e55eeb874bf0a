"""One-to-one self-teaching: each feature of a student against the same feature of its teacher, gated.

A feature is what a layer reads (`supernet/taps.py`), so student and teacher need the same layers. Where
in a feature the energy is must agree; how large it is need not. A gate per feature and example opens
where the channels of the two, projected, point the same way.

Source: Zhang et al., GHOST, IEEE TGRS 2023, https://arxiv.org/abs/2301.00131: `L_OST`. Two things differ
from the published code. Its projections are trained by nobody; here they are drawn once and fixed, which
is the same, and gates get no gradient: the loss is never negative, so training would close them. And a
feature without positions, which would be a single point there, has its channels for positions.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.supernet import Supernet
from mpnas.supernet.taps import Features

PROJECTED = 128  # channels that descriptors are projected to
PROJECTION_SEED = 0x0571
NORM_FLOOR = 1e-12
BATCH_NORM_FLOOR = 1e-5


def gated_feature_loss(student: Features, teacher: Features, key: Any) -> Float[Array, ""]:
    """`sum_features mean_batch gate * mean_positions (s_student - s_teacher)^2`.

    Args:
      student, teacher: Layer -> what it reads at each call, `(batch, *positions, channels)`; their
        channels may differ in number where there are positions.
      key: Of the gates' noise.
    """
    total: Any = jnp.float32(0)
    number = 0
    for name, seen in student.items():
        for own, other in zip(seen, teacher[name], strict=True):
            other = jax.lax.stop_gradient(other)
            gate = gates(own, other, number, jax.random.fold_in(key, number))
            apart = jnp.mean((attention(own) - attention(other)) ** 2, axis=1)
            total, number = total + jnp.mean(gate * apart), number + 1
    return total


def attention(feature: Float[Array, "batch ..."]) -> Float[Array, "batch positions"]:
    """Mean square over the channels at each position, as a vector of length 1."""
    energy = jnp.mean(jnp.square(_positions(feature)), axis=2)
    return energy * jax.lax.rsqrt(jnp.maximum(jnp.sum(energy**2, axis=1, keepdims=True), NORM_FLOOR))


def gates(
    student: Float[Array, "batch ..."], teacher: Float[Array, "batch ..."], number: int, key: Any
) -> Float[Array, " batch"]:
    """1 where `k . q / sqrt(d) + Gumbel noise > 0`, else 0: a hard Gumbel sigmoid at temperature 1.

    `q = BN(W_t c_t)` and `k = ReLU(BN(W_s c_s))` of the channel descriptors c, means over positions; batch
    norms have no parameters, and W are drawn once for each feature.
    """
    draws = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(PROJECTION_SEED), number))
    query = _normed(_projected(teacher, draws[0]))
    value = jax.nn.relu(_normed(_projected(student, draws[1])))
    logit = jnp.sum(value * query, axis=1) / PROJECTED**0.5
    opened = logit + jax.random.gumbel(key, logit.shape) > 0
    return jax.lax.stop_gradient(opened.astype(jnp.float32))


def refuse_strangers(stage: str, net: Supernet, teacher: Any, example: Any) -> None:
    """Raise a ConfigError unless a teacher has the features of a network.

    Args:
      stage: For the error.
      net: The student.
      teacher: A `Teacher`.
      example: A batch of inputs.
    """
    if not net.tapped:
        raise ConfigError(
            f"stage '{stage}' compares features, but no layer of the network reads anything but its input "
            "or lies outside of a loop. Set features = 0."
        )
    if not hasattr(teacher.net, "observed"):
        raise ConfigError(
            f"stage '{stage}' compares features layer by layer, and this teacher answers with logits only. "
            "Teach with the float network, or set features = 0 and distill = 1."
        )
    x = jax.ShapeDtypeStruct(example.shape, example.dtype)
    own = jax.eval_shape(lambda p, x: net.observed(p, _gates_of(net), x, train=True)[2], net.parts, x)
    other = jax.eval_shape(lambda p, x: teacher.net.observed(p, {}, x, train=False)[2], teacher.parts, x)
    for name, seen in own.items():
        wanted, found = (
            [_positions_shape(one.shape) for one in calls] for calls in (seen, other.get(name, ()))
        )
        if wanted != found:
            raise ConfigError(
                f"stage '{stage}' compares features layer by layer, but what '{name}' reads has positions "
                f"{wanted} in the network that learns and {found or 'no counterpart'} in the teacher. "
                "Teach with a network of the same layers, or set features = 0."
            )


def _gates_of(net: Supernet) -> dict[str, Any]:
    one_hot = net.space.one_hot(net.space.uniform(None))
    return {site: jnp.asarray(gate, jnp.float32) for site, gate in one_hot.items()}


def _positions_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:-1] if len(shape) > 2 else shape[1:]


def _positions(feature: Array) -> Float[Array, "batch positions channels"]:
    feature = feature.astype(jnp.float32)
    if feature.ndim < 3:
        return feature.reshape(feature.shape[0], -1, 1)
    return feature.reshape(feature.shape[0], -1, feature.shape[-1])


def _projected(feature: Array, key: Any) -> Float[Array, "batch projected"]:
    feature = jax.lax.stop_gradient(feature.astype(jnp.float32))
    descriptor = feature if feature.ndim < 3 else jnp.mean(_positions(feature), axis=1)
    channels = descriptor.shape[1]
    return descriptor @ (jax.random.normal(key, (channels, PROJECTED)) / channels**0.5)


def _normed(x: Float[Array, "batch projected"]) -> Float[Array, "batch projected"]:
    centred = x - jnp.mean(x, axis=0)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=0) + BATCH_NORM_FLOOR)
