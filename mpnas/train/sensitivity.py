"""Sensitivity: how much the loss grows when one decision leaves its highest candidate, all else there.

Every measure gives site -> `(decisions, candidates)` float64 >= 0 at the given weights. With
D = Q_k(w) - w of a decision's weights (from the float weights, so that the highest candidate has a small
increase too), G the Gauss-Newton matrix of the mean cross-entropy and H its Hessian:

* `fisher`: `1/2 sum_i G_ii D_i^2`. G is the Fisher information: no labels enter.
* `hessian`: `1/2 max(tr H_dd, 0) / n * ||D||^2`, the trace over the decision's n weights by Hutchinson's
  probes, on true labels (HAWQ-V2). Negative traces count as 0.
* `loss`, `flips`: every decision of a site is moved at once, and the increase of the loss (in nats, 0 where
  it falls), or the share of predictions that change, is measured. It is spread over the site's decisions in
  proportion to `||D||^2`; evenly over masks, which distort no weights.

Activations and removed channels have no w. Under the first two measures theirs is `1/2 d' G d`, the full
quadratic form along the direction d in which the network's inner values move with the gate: from the
highest candidate to k for activations, and towards absence, as the layers that read them see it, for
channels. `fisher` and this form are read off one backward pass per batch: with independent random signs e
and `S S' = diag(p) - p p'` the output's curvature, the squared gradient of `sum logits . S e` estimates
both without bias.

Sources: Dong et al., HAWQ-V2, NeurIPS 2020, https://arxiv.org/abs/1911.03852, eq. (9); Hutchinson, 1990;
the diagonal by random signs: Martens et al., ICML 2012, https://arxiv.org/abs/1206.6464.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.supernet import Parts, Supernet
from mpnas.supernet.trace import leaf_name
from mpnas.train.evaluate import one_hot_gates
from mpnas.train.objective import cross_entropy

Batches = Callable[[], Iterator[tuple[Any, Any]]]  # inputs and labels of every batch, the same each time
Scores = dict[str, Float[np.ndarray, "decisions candidates"]]


def fisher(net: Supernet, parts: Parts, batches: Batches, seed: int) -> Scores:
    """`1/2 sum_i G_ii D_i^2` of weights; the Gauss-Newton form of activations and removed channels."""
    return _scored(net, parts, batches, seed, _fisher_of(net))


def hessian(net: Supernet, parts: Parts, batches: Batches, seed: int) -> Scores:
    """Mean Hessian trace times squared distortion of weights; the rest as under `fisher`."""
    return _scored(net, parts, batches, seed, _trace_of(net))


def loss(net: Supernet, parts: Parts, batches: Batches, seed: int) -> Scores:
    """Measured increase of the loss, in nats, spread over the decisions of a site."""
    return _moved(net, parts, batches, lambda moved, highest: moved[0] - highest[0])


def flips(net: Supernet, parts: Parts, batches: Batches, seed: int) -> Scores:
    """Measured share of predictions that change, in [0, 1], spread over the decisions of a site."""
    return _moved(net, parts, batches, lambda moved, highest: np.mean(moved[1] != highest[1]))


def _scored(
    net: Supernet, parts: Parts, batches: Batches, seed: int, curvature: Callable[..., Any]
) -> Scores:
    """`1/2 sum_i c_i D_i^2` with curvatures c of the weights; the forms of gates elsewhere."""
    gates, forms = one_hot_gates(net, net.space.uniform(None)), _forms_of(net)
    key, sums, count = jax.random.PRNGKey(seed), None, 0
    for x, y in batches():
        one = jax.random.fold_in(key, count)
        found = (curvature(parts, gates, x, y, one), forms(parts, gates, x, one))
        sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
        count += 1
    curvatures, formed = jax.tree.map(lambda total: total / count, sums)
    kernels, scores = net.kernels(parts.params), {}
    for site, quantized in net.quantized_kernels(parts).items():
        reduce = net.space.choices[site].granularity.reduce
        of_weights = jnp.maximum(curvatures[site], 0.0)
        columns = [reduce(of_weights * (q - kernels[site]) ** 2, jnp.sum) for q in quantized]
        scores[site] = 0.5 * np.stack([np.asarray(c, np.float64) for c in columns], axis=1)
    for site, choice in net.space.choices.items():
        form = 0.5 * np.asarray(formed[site], np.float64)
        if choice.kind != "weight":
            scores[site] = form
        elif choice.removes:
            scores[site][:, 0] = form[:, 0]
    return {site: scores[site] for site in net.space.choices}


@functools.lru_cache(maxsize=16)
def _fisher_of(net: Supernet) -> Callable[..., dict[str, Array]]:
    """Weight site -> an unbiased estimate of G_ii for every weight, from one batch."""

    def estimate(parts: Parts, gates: Any, x: Any, y: Any, key: Any) -> dict[str, Array]:
        slopes = jax.grad(lambda params: _signed(net, parts, params, gates, x, key))(parts.params)
        return {site: slope**2 / x.shape[0] for site, slope in net.kernels(slopes).items()}

    return jax.jit(estimate)


@functools.lru_cache(maxsize=16)
def _forms_of(net: Supernet) -> Callable[..., dict[str, Array]]:
    """Site -> an estimate of `d' G d` per decision and candidate, from one batch."""

    def estimate(parts: Parts, gates: Any, x: Any, key: Any) -> dict[str, Array]:
        slopes = jax.grad(lambda moved: _signed(net, parts, parts.params, moved, x, key))(gates)
        forms = {}
        for site, slope in slopes.items():
            along = slope - slope[:, -1:]
            if net.space.choices[site].removes:
                # The slope of absence is that of the layers that read; with the kernel's own subtracted
                # the channel would be taken away twice.
                along = along.at[:, 0].set(slope[:, 0])
            forms[site] = along**2 / x.shape[0]
        return forms

    return jax.jit(estimate)


def _signed(net: Supernet, parts: Parts, params: Any, gates: Any, x: Any, key: Any) -> Any:
    """`sum logits . S e`: its slope in anything is `sum_rows J' S e`, whose mean square is `J' G J`."""
    logits = net.apply(Parts(params, parts.ranges, parts.stats), gates, x, train=False)[0]
    root = jnp.sqrt(jax.nn.softmax(logits))
    signed = root * jax.random.rademacher(key, logits.shape, logits.dtype)
    spread = signed - root**2 * jnp.sum(signed, axis=1, keepdims=True)
    return jnp.sum(logits * jax.lax.stop_gradient(spread))


@functools.lru_cache(maxsize=16)
def _trace_of(net: Supernet) -> Callable[..., dict[str, Array]]:
    """Weight site -> for every weight its decision's mean Hessian diagonal, estimated from one batch."""

    def estimate(parts: Parts, gates: Any, x: Any, y: Any, key: Any) -> dict[str, Array]:
        def slopes(params: Any) -> Any:
            return jax.grad(
                lambda p: cross_entropy(
                    net.apply(Parts(p, parts.ranges, parts.stats), gates, x, train=False)[0], y, 0.0
                )
            )(params)

        probes = _probes(net, parts.params, key)
        products = net.kernels(jax.jvp(slopes, (parts.params,), (probes,))[1])
        means = {}
        for site, probe in net.kernels(probes).items():
            granularity = net.space.choices[site].granularity
            mean = granularity.reduce(probe * products[site], jnp.mean)
            means[site] = jnp.broadcast_to(granularity.expand(mean, probe.shape), probe.shape)
        return means

    return jax.jit(estimate)


def _probes(net: Supernet, params: Any, key: Any) -> Any:
    """Random signs in place of every searched kernel, zeros elsewhere."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    searched = set(net.space.weight_site.values())
    probes = [
        jax.random.rademacher(jax.random.fold_in(key, number), leaf.shape, leaf.dtype)
        if leaf_name(path) in searched
        else jnp.zeros_like(leaf)
        for number, (path, leaf) in enumerate(flat)
    ]
    return jax.tree_util.tree_unflatten(treedef, probes)


def _moved(
    net: Supernet, parts: Parts, batches: Batches, increase: Callable[[Any, Any], float]
) -> Scores:
    """The measured increase of each site at each lower candidate, spread over its decisions."""
    gates = one_hot_gates(net, net.space.uniform(None))
    highest = _answers(net, parts, gates, batches)
    distortions = jax.jit(net.distortions)(parts)
    scores = {}
    for site, choice in net.space.choices.items():
        shape = (choice.decisions, len(choice.bits))
        weights = np.asarray(distortions.get(site, np.ones(shape)), np.float64)
        whole = weights.sum(axis=0, keepdims=True)
        spread = np.where(whole > 0, weights / np.where(whole > 0, whole, 1), 1 / choice.decisions)
        total = np.zeros(len(choice.bits))
        for k in range(len(choice.bits) - 1):
            at_k = jnp.zeros(shape).at[:, k].set(1.0)
            moved = _answers(net, parts, gates | {site: at_k}, batches)
            total[k] = max(float(increase(moved, highest)), 0.0)
        scores[site] = spread * total
    return scores


def _answers(
    net: Supernet, parts: Parts, gates: Mapping[str, Any], batches: Batches
) -> tuple[float, np.ndarray]:
    """Mean loss in nats, and the predicted class of every row."""
    answer = _answer_of(net)
    found = [answer(parts, gates, x, y) for x, y in batches()]
    return (
        float(np.mean([float(one[0]) for one in found])),
        np.concatenate([np.asarray(one[1]) for one in found]),
    )


@functools.lru_cache(maxsize=16)
def _answer_of(net: Supernet) -> Callable[..., Any]:
    def answer(parts: Parts, gates: Any, x: Any, y: Any) -> Any:
        logits = net.apply(parts, gates, x, train=False)[0]
        return cross_entropy(logits, y, 0.0), jnp.argmax(logits, axis=1)

    return jax.jit(answer)
