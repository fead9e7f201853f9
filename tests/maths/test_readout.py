from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.defence.spec import ReadOut
from nip_export.defence.statistics import evidence
from nip_export.fit.profiles import as_stored, fit_readout, fit_temperature, in_steps
from nip_export.fit.profiles.readout import TEMPERATURES
from nip_export.network import TapKind
from nip_runtime.errors import ExportError

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]


def clouds(
    seed: int, *, rows: int = 200, width: int = 6, classes: int = 4, apart: float = 2.0
) -> tuple[Doubles, Labels]:
    """Gaussian classes with one shared covariance that is far from spherical."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(classes, size=rows - classes)])
    mixing = random.normal(size=(width, width)) * np.geomspace(3, 0.3, width)
    values = apart * random.normal(size=(classes, width))[labels] + random.normal(size=(rows, width)) @ mixing
    return values, labels


def log_densities(values: Doubles, labels: Labels, points: Doubles, *, shrinkage: float) -> Doubles:
    """Log-density of every point under every class's Gaussian, from the definition, one pair at a time."""
    classes, width = int(labels.max()) + 1, values.shape[1]
    means = [values[labels == c].mean(0) for c in range(classes)]
    scatter = np.zeros((width, width))
    for row, label in zip(values, labels, strict=True):
        scatter += np.outer(row - means[label], row - means[label])
    covariance = scatter / len(values)
    mean_variance = sum(covariance[i, i] for i in range(width)) / width
    covariance = (1 - shrinkage) * covariance + shrinkage * mean_variance * np.eye(width)
    inverse, log_volume = np.linalg.inv(covariance), np.linalg.slogdet(2 * np.pi * covariance)[1]
    return np.array(
        [[-0.5 * ((p - m) @ inverse @ (p - m)) - 0.5 * log_volume for m in means] for p in points]
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), shrinkage=st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_scores_differ_between_classes_as_log_densities_do(seed: int, shrinkage: float) -> None:
    values, labels = clouds(seed)
    points = np.random.default_rng(seed + 1).normal(size=(20, values.shape[1])) * 3
    scores = fit_readout(values, labels, classes=4, shrinkage=shrinkage)(points)
    densities = log_densities(values, labels, points, shrinkage=shrinkage)
    np.testing.assert_allclose(
        scores - scores[:, :1], densities - densities[:, :1], rtol=1e-7, atol=1e-7 * np.abs(densities).max()
    )


def test_two_classes_on_a_line_by_hand() -> None:
    # Class 0: 0 and 2, mean 1. Class 1: 4 and 6, mean 5. Every residual is ±1, so the variance is 1, and
    # shrinking it towards its own mean changes nothing. Scores: μ·a − μ²/2 = a − 0.5 and 5a − 12.5.
    readout = fit_readout(np.array([[0.0], [2], [4], [6]]), np.array([0, 0, 1, 1]), classes=2)
    np.testing.assert_allclose(
        readout(np.array([[3.0], [0], [10]])), [[2.5, 2.5], [-0.5, -12.5], [9.5, 37.5]]
    )


def test_correlated_neurons_do_not_count_twice() -> None:
    values, labels = clouds(0, width=3)
    copied = np.concatenate(
        [values, values[:, :1] + 1e-3 * np.random.default_rng(1).normal(size=(200, 1))], 1
    )
    once = fit_readout(values, labels, classes=4, shrinkage=1e-6)(values)
    twice = fit_readout(copied, labels, classes=4, shrinkage=1e-6)(copied)
    assert (once.argmax(1) == twice.argmax(1)).mean() > 0.98


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_a_class_without_rows_is_never_believed_in_and_leaves_the_others_alone(seed: int) -> None:
    values, labels = clouds(seed, classes=3)
    gap = np.where(labels == 2, 3, labels)  # class 2 of 4 has no rows
    full, gappy = fit_readout(values, labels, classes=3), fit_readout(values, gap, classes=4)
    scores = gappy(values)
    np.testing.assert_allclose(scores[:, [0, 1, 3]], full(values), rtol=1e-9, atol=1e-9)
    assert (scores[:, 2] < scores[:, [0, 1, 3]].min(1) - 999).all()


def test_constant_activations_give_finite_scores() -> None:
    readout = fit_readout(np.full((6, 3), 0.5, np.float32), np.array([0, 0, 1, 1, 2, 2]), classes=3)
    assert np.isfinite(readout.weight).all() and np.isfinite(readout.bias).all()


def negative_log_likelihood(scores: Doubles, labels: Labels, factor: float) -> float:
    """Mean over rows of −ln softmax(factor · scores)[label], in numbers of a few hundred digits' range."""
    total = 0.0
    for row, label in zip(scores, labels, strict=True):
        largest = max(factor * s for s in row)
        total += largest + float(np.log(sum(np.exp(factor * s - largest) for s in row))) - factor * row[label]
    return total / len(labels)


@pytest.mark.parametrize("true_factor", [0.02, 0.3, 1.0, 4.0])
def test_the_temperature_minimises_the_negative_log_likelihood(true_factor: float) -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=(600, 5)) / true_factor
    chances = np.exp(true_factor * scores)
    labels = np.array([random.choice(5, p=row / row.sum()) for row in chances])
    found = fit_temperature(scores, labels)
    # Golden-section search: the loss is convex in the factor.
    low, high = 1e-3, 10.0
    ratio = (5**0.5 - 1) / 2
    while high / low > 1.001:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(scores, labels, left) < negative_log_likelihood(scores, labels, right):
            high = right
        else:
            low = left
    step = TEMPERATURES[1] / TEMPERATURES[0]
    assert low / step < found < high * step
    best = negative_log_likelihood(scores, labels, low)
    assert negative_log_likelihood(scores, labels, found) <= best + 2e-3
    assert found == pytest.approx(true_factor, rel=0.35)


def test_separable_data_takes_the_sharpest_temperature_without_overflow() -> None:
    labels = np.arange(50) % 5
    scores = 1000.0 * np.eye(5)[labels]
    assert fit_temperature(np.eye(5)[labels], labels) == pytest.approx(10)
    # At 1000 nats apart the loss is 0 for every factor that is not tiny; the first of them is taken.
    factor = fit_temperature(scores, labels)
    assert negative_log_likelihood(scores, labels, factor) < 1e-6


def test_scores_that_are_always_wrong_take_the_softest_temperature() -> None:
    labels = np.arange(50) % 5
    assert fit_temperature(-np.eye(5)[labels], labels) == pytest.approx(1e-3)


def example_readout(*, width: int = 40, classes: int = 300, shared: float = 5.0, seed: int = 0) -> ReadOut:
    """Weights with a large part that all classes share, as whitening a positive activation leaves."""
    random = np.random.default_rng(seed)
    common = shared * random.normal(size=(width, 1))
    return ReadOut(
        tap="layer",
        kind=TapKind.VECTOR,
        cells=1,
        weight=(common + random.normal(size=(width, classes))).astype(np.float32),
        bias=random.normal(size=classes).astype(np.float32),
    )


def opinions(readout: ReadOut, pooled: Doubles) -> Doubles:
    return evidence([readout], {"layer": pooled})


def test_a_read_out_in_steps_says_nearly_the_same_and_on_the_mean_input_exactly_the_same() -> None:
    readout = example_readout()
    random = np.random.default_rng(1)
    pooled = 3 + random.normal(size=(500, 40))
    mean = pooled.mean(0)
    stored = in_steps(readout, mean)
    assert stored.step_size is not None and stored.steps.dtype == np.int8
    assert np.abs(stored.steps.astype(int)).max(0).tolist() == [127] * 300, "every class uses all steps"
    np.testing.assert_allclose(opinions(stored, mean[None]), opinions(readout, mean[None]), rtol=0, atol=1e-4)
    # Rounding errors are uniform within a step: what 40 of them add up to on one input, from its distance.
    before, after = opinions(readout, pooled), opinions(stored, pooled)
    expected = np.linalg.norm(pooled - mean, axis=1)[:, None] * stored.step_size / np.sqrt(12)
    difference = (after - before) - (after - before).mean(1, keepdims=True)
    assert 0.8 < difference.std() / np.sqrt((expected**2).mean()) < 1.2
    assert difference.std() < 0.03 * (before - before.mean(1, keepdims=True)).std()
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.95


def test_what_all_classes_share_is_not_stored() -> None:
    mean = np.full(40, 3.0)
    small, large = (in_steps(example_readout(shared=shared), mean) for shared in (0.0, 1000.0))
    assert small.step_size is not None and large.step_size is not None
    np.testing.assert_allclose(small.step_size, large.step_size, rtol=1e-3)


def test_a_class_without_images_stays_far_below_every_other() -> None:
    values, labels = clouds(0, classes=4)
    labels[labels == 2] = 1
    linear = fit_readout(values, labels, classes=4)
    readout = ReadOut(
        "layer", TapKind.VECTOR, 1, linear.weight.astype(np.float32), linear.bias.astype(np.float32)
    )
    found = opinions(in_steps(readout, values.mean(0)), values)
    assert found[:, 2].max() < found[:, [0, 1, 3]].min() - 100


def test_only_large_read_outs_are_rounded_and_all_of_1000_classes_stay_below_1_1_megabytes() -> None:
    assert as_stored(example_readout(width=256, classes=10), np.zeros(256)).step_size is None
    stored = as_stored(example_readout(width=1024, classes=1000), np.zeros(1024))
    assert stored.step_size is not None
    assert stored.size_bytes == 1024 * 1000 + 2 * 4 * 1000 <= 1.1e6
    assert example_readout(width=1024, classes=1000).size_bytes == 4 * 1000 * 1025


@pytest.mark.parametrize(
    ("weight", "step"),
    [(0.55, 0.1), (12.8, 0.1), (0.5, 0.0), (0.5, -0.1), (np.nan, 0.1)],
    ids=["between steps", "128 steps", "no step", "negative step", "nan"],
)
def test_weights_that_are_no_whole_steps_are_refused(weight: float, step: float) -> None:
    with pytest.raises(ExportError, match="read-out of layer: expected"):
        ReadOut(
            "layer",
            TapKind.VECTOR,
            1,
            np.array([[weight]], np.float32),
            np.zeros(1, np.float32),
            np.array([step], np.float32),
        )


def test_weights_that_are_not_in_steps_have_no_steps() -> None:
    with pytest.raises(ExportError, match="expected weights stored in steps"):
        _ = example_readout().steps
