"""Tests of mpnas/train/sensitivity.py: against curvatures that can be written down, and losses counted."""

import curvature_nets as nets
import numpy as np
import pytest

from mpnas.train import sensitivity

MANY = 400  # batches, so that the mean of the estimates is within a few percent of what they estimate


def curvature(logits):
    """`(rows, classes, classes)` Hessian of each row's cross-entropy in its logits."""
    p = nets.softmax(logits)
    return np.einsum("nc,cd->ncd", p, np.eye(p.shape[1])) - np.einsum("nc,nd->ncd", p, p)


def form(logits, moves):
    """Mean over rows of `d' G d` for moves of the logits."""
    return np.einsum("nc,ncd,nd->n", moves, curvature(logits), moves).mean()


def fisher_of_linear(net, parts):
    """`(5, 3)` mean over rows of x_i^2 p_c (1 - p_c), at the highest candidate."""
    x = nets.rows().train[0].astype(np.float64)
    p = nets.softmax(x @ nets.kernel(net, parts, "head/kernel", -1))
    return np.einsum("ni,nc->ic", x**2, p * (1 - p)) / len(x)


@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_fisher_is_half_the_diagonal_of_the_known_hessian_times_the_squared_distortion(granularity):
    net, parts = nets.net_of(nets.Linear, {"weights": (2, 4, 8), "granularity": granularity})
    found = sensitivity.fisher(net, parts, nets.batches(60, MANY // 4), 0)["head/kernel"]
    w = np.asarray(net.kernels(parts.params)["head/kernel"], np.float64)
    squares = [(nets.kernel(net, parts, "head/kernel", k) - w) ** 2 for k in range(3)]
    of_channel = 0.5 * np.stack([(fisher_of_linear(net, parts) * d).sum(axis=0) for d in squares], axis=1)
    expected = of_channel if granularity == "channel" else of_channel.sum(axis=0, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=0.15)
    assert found.dtype == np.float64 and np.all(found >= 0)


def test_one_batch_of_fisher_is_unbiased_over_all_signs():
    """The estimate averaged over every pattern of signs is the Fisher information itself, exactly."""
    rng = np.random.default_rng(0)
    logits, jacobian = rng.normal(size=3), rng.normal(size=(3, 4))
    root = np.sqrt(nets.softmax(logits[None])[0])
    squares = []
    for bits in range(8):
        signs = np.array([1 if bits >> c & 1 else -1 for c in range(3)])
        spread = root * signs - root**2 * (root * signs).sum()
        squares.append((jacobian.T @ spread) ** 2)
    expected = np.diag(jacobian.T @ curvature(logits[None])[0] @ jacobian)
    np.testing.assert_allclose(np.mean(squares, axis=0), expected, rtol=1e-12)


def test_activation_has_the_form_along_what_its_quantiser_changes():
    net, parts = nets.net_of(nets.Linear, {"weights": (8,), "activations": (2, 4, 8)})
    x, w = nets.rows().train[0], nets.kernel(net, parts, "head/kernel", -1)
    values = []
    for k, candidate in enumerate(net.space.choices["head/input"].candidates):
        entries = {n.split("/")[1]: v for n, v in parts.ranges["head/input"].items()
                   if n.startswith(f"{candidate.bits}/")}
        values.append(np.asarray(candidate.quantize(x, entries), np.float64))
    expected = [0.5 * form(values[-1] @ w, (q - values[-1]) @ w) for q in values]
    found = sensitivity.fisher(net, parts, nets.batches(60, MANY // 4), 0)["head/input"]
    assert found.shape == (1, 3) and found[0, 2] == 0
    np.testing.assert_allclose(found[0, :2], expected[:2], rtol=0.2)


@pytest.mark.parametrize("measure", [sensitivity.fisher, sensitivity.hessian])
def test_removed_channel_has_the_form_of_what_the_next_layer_loses(measure):
    net, parts = nets.net_of(nets.Two, {"weights": (0, 8), "granularity": "channel"})
    x = nets.rows().train[0].astype(np.float64)
    hidden = np.maximum(x @ nets.kernel(net, parts, "body/kernel", -1), 0)
    head = nets.kernel(net, parts, "head/kernel", -1)
    expected = [0.5 * form(hidden @ head, hidden[:, [c]] * head[c]) for c in range(4)]
    found = measure(net, parts, nets.batches(60, MANY // 4), 0)["body/kernel"]
    np.testing.assert_allclose(found[:, 0], expected, rtol=0.25)


def test_hessian_is_half_the_mean_trace_times_the_squared_distortion():
    net, parts = nets.net_of(nets.Linear, {"weights": (2, 4, 8), "granularity": "channel"})
    found = sensitivity.hessian(net, parts, nets.batches(240, MANY), 0)["head/kernel"]
    # Of a linear softmax model the Hessian is the Gauss-Newton matrix, whatever the labels.
    mean_trace = fisher_of_linear(net, parts).mean(axis=0)
    w = np.asarray(net.kernels(parts.params)["head/kernel"], np.float64)
    for k in range(3):
        distortion = ((nets.kernel(net, parts, "head/kernel", k) - w) ** 2).sum(axis=0)
        np.testing.assert_allclose(found[:, k], 0.5 * mean_trace * distortion, rtol=0.1)


def logits_at(net, parts, k):
    return nets.rows().train[0].astype(np.float64) @ nets.kernel(net, parts, "head/kernel", k)


def test_loss_is_the_counted_increase():
    net, parts = nets.net_of(nets.Linear, {"weights": (1, 2, 8)})
    y = logits_at(net, parts, -1).argmax(axis=1)  # the network is right: fewer bits cost something
    losses = [nets.cross_entropy(logits_at(net, parts, k), y).mean() for k in range(3)]
    found = sensitivity.loss(net, parts, nets.batches(60, labels=y), 0)["head/kernel"]
    np.testing.assert_allclose(found[0], np.array(losses) - losses[-1], atol=1e-5)
    assert found[0, 0] > 0.01 and found[0, 2] == 0


def test_loss_that_falls_with_fewer_bits_counts_as_no_increase():
    net, parts = nets.net_of(nets.Linear, {"weights": (1, 2, 8)})
    wrong = logits_at(net, parts, -1).argmin(axis=1)
    found = sensitivity.loss(net, parts, nets.batches(60, labels=wrong), 0)["head/kernel"]
    assert nets.cross_entropy(logits_at(net, parts, 0), wrong).mean() < nets.cross_entropy(
        logits_at(net, parts, -1), wrong).mean()
    assert found[0, 0] == 0


def test_flips_are_the_counted_changes_of_predictions():
    net, parts = nets.net_of(nets.Linear, {"weights": (1, 2, 8)})
    answers = [logits_at(net, parts, k).argmax(axis=1) for k in range(3)]
    found = sensitivity.flips(net, parts, nets.batches(60), 0)["head/kernel"]
    np.testing.assert_allclose(found[0], [np.mean(a != answers[-1]) for a in answers])
    assert found[0, 0] > found[0, 2] == 0


def test_measured_increase_of_a_site_is_spread_over_its_channels_by_distortion():
    whole, parts = nets.net_of(nets.Linear, {"weights": (1, 2, 8)})
    split, parts = nets.net_of(nets.Linear, {"weights": (1, 2, 8), "granularity": "channel"})
    right = nets.batches(labels=logits_at(whole, parts, -1).argmax(axis=1))
    for measure in (sensitivity.loss, sensitivity.flips):
        one = measure(whole, parts, right, 0)["head/kernel"]
        many = measure(split, parts, right, 0)["head/kernel"]
        np.testing.assert_allclose(many.sum(axis=0), one[0], rtol=1e-6)
        w = np.asarray(split.kernels(parts.params)["head/kernel"], np.float64)
        distortion = ((nets.kernel(split, parts, "head/kernel", 0) - w) ** 2).sum(axis=0)
        np.testing.assert_allclose(many[:, 0] / many[:, 0].sum(), distortion / distortion.sum(), rtol=1e-5)


def test_probes_are_signs_on_searched_kernels_and_nothing_elsewhere():
    import jax

    net, parts = nets.net_of(nets.Two, {"weights": (2, 8)})
    probes = sensitivity._probes(net, parts.params, jax.random.PRNGKey(0))
    for probe in net.kernels(probes).values():
        np.testing.assert_array_equal(np.abs(probe), 1)


@pytest.mark.parametrize("measure", [sensitivity.fisher, sensitivity.hessian])
def test_same_seed_has_the_same_scores_and_another_seed_others(measure):
    net, parts = nets.net_of(nets.Two, {"weights": (2, 4, 8), "activations": (4, 8)})
    one, same, other = (measure(net, parts, nets.batches(), seed) for seed in (0, 0, 1))
    for site in one:
        np.testing.assert_array_equal(one[site], same[site])
    assert any(np.any(one[site] != other[site]) for site in one)
