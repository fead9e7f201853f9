"""What benign features look like, and what is said of classes that showed none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.calibrate import fit_scale, fit_tests, fit_typicality
from nip_export.calibrate.gate import EARLY_WEIGHT, early_weight
from nip_export.calibrate.typicality import MOST_DIRECTIONS, PSEUDO_ROWS, SHRINKAGE
from nip_export.defence import statistics
from nip_export.defence.decision import FirstLook, free_score, free_statistics
from nip_export.defence.spec import Typicality
from nip_export.network import TapKind
from nip_runtime.errors import ExportError
from tests.maths import by_hand
from tests.maths.benign_like import known_of, statistics_of

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]


def fit(features: NDArray[np.floating], labels: Labels) -> Typicality:
    return fit_typicality(features, labels, tap="features", kind=TapKind.VECTOR)


def clouds(seed: int, *, classes: int = 4, width: int = 6, rows: int = 200) -> tuple[Doubles, Labels]:
    """Classes far apart, each stretched alike along random axes."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=rows)
    stretch = random.normal(size=(width, width))
    return 9 * random.normal(size=(classes, width))[labels] + random.normal(
        size=(rows, width)
    ) @ stretch, labels


def test_two_classes_in_two_dimensions_by_hand() -> None:
    features = np.array([[-3.0, -1], [-3, 1], [3, -2], [3, 2]])
    found = fit(features, np.array([0, 0, 1, 1]))
    # The mean of all is 0. Centres are (−6, 0) / (2 + 2) and (6, 0) / (2 + 2), so residuals (∓1.5, …):
    # variances 2.25 and (1 + 1 + 4 + 4) / 4 = 2.5, no covariance. Shrunk by a tenth to their mean 2.375.
    across, along = 0.9 * 2.25 + 0.2375, 0.9 * 2.5 + 0.2375
    probes = np.array([[0.0, 0], [3, 2], [-1.5, 0], [0, 5]])
    wanted = [
        math.sqrt(1.5**2 / across),
        math.sqrt(1.5**2 / across + 2**2 / along),
        0,
        math.sqrt(1.5**2 / across + 5**2 / along),
    ]
    apart = statistics.distances(found, probes)
    assert apart.shape == (4, 2)
    np.testing.assert_allclose(apart.min(1), wanted, rtol=1e-5, atol=1e-3)
    assert apart[1].argmin() == 1 and apart[2].argmin() == 0
    assert (found.tap, found.kind) == ("features", TapKind.VECTOR)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_distances_are_those_by_hand(seed: int) -> None:
    features, labels = clouds(seed, rows=60)
    found = fit(features, labels)
    nearest = statistics.distances(found, features).min(1)
    for row, distance in zip(features.tolist(), nearest.tolist(), strict=True):
        # Squares of about a hundred are subtracted from each other.
        assert distance == pytest.approx(by_hand.distance(found, row), rel=1e-6, abs=1e-4)


def test_whitening_gives_unit_scatter() -> None:
    features, labels = clouds(1, rows=4000)
    found = fit(features, labels)
    whitened = features @ found.weight.astype(np.float64) + found.bias
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-4)
    centres = found.centres[labels]
    scatter = (whitened - centres).T @ (whitened - centres) / len(whitened)
    # Directions come out uncorrelated, and their variances, as far as shrinkage lets them, at 1.
    np.testing.assert_allclose(scatter - np.diag(np.diag(scatter)), 0, atol=1e-3)
    residuals = features - centres_of(features, labels)[labels]
    spread = np.trace(residuals.T @ residuals) / len(features) / features.shape[1]
    before = np.linalg.eigvalsh(residuals.T @ residuals / len(features))
    wanted = before / ((1 - SHRINKAGE) * before + SHRINKAGE * spread)
    np.testing.assert_allclose(np.sort(np.diag(scatter)), np.sort(wanted), rtol=1e-3)


def centres_of(features: Doubles, labels: Labels) -> Doubles:
    """Class means, drawn to the mean of all by two pseudo-rows."""
    overall = features.mean(0)
    return np.array(
        [
            (features[labels == label].sum(0) + PSEUDO_ROWS * overall)
            / ((labels == label).sum() + PSEUDO_ROWS)
            for label in range(labels.max() + 1)
        ]
    )


def test_round_clouds_are_told_in_standard_deviations() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(3, size=6000)
    features = 50 * np.eye(3, 8)[labels] + 4 * random.normal(size=(6000, 8))
    apart = statistics.distances(fit(features, labels), features).min(1)
    # Of 8 independent unit normals, so of mean square 8; a class's mean is known to a tenth of σ.
    assert np.square(apart).mean() == pytest.approx(8, rel=0.02)
    moved = statistics.distances(fit(features, labels), features + 40 * np.eye(8)[7])
    assert moved.min(1).mean() == pytest.approx(math.sqrt(8 + 10**2), rel=0.03), "ten standard deviations off"


def test_a_class_without_images_has_no_centre_and_leaves_the_others_alone() -> None:
    features, labels = clouds(3, classes=3)
    gap = np.where(labels == 2, 5, labels)
    full, gappy = fit(features, labels), fit(features, gap)
    assert gappy.centres.shape == full.centres.shape == (3, 6)
    np.testing.assert_allclose(statistics.distances(gappy, features), statistics.distances(full, features))


def test_only_the_directions_in_which_classes_vary_most_are_kept() -> None:
    random = np.random.default_rng(4)
    scales = np.linspace(3, 0.1, 100)
    labels = random.integers(2, size=3000)
    features = random.normal(size=(3000, 100)) * scales
    found = fit(features, labels)
    assert found.weight.shape == (100, MOST_DIRECTIONS)
    assert found.size_bytes == 4 * (100 * MOST_DIRECTIONS + MOST_DIRECTIONS + 2 * MOST_DIRECTIONS)
    heard = np.linalg.norm(found.weight, axis=1)
    assert heard[:20].min() > 5 * heard[-10:].max(), "a step along a quiet axis is not heard"


@pytest.mark.parametrize(
    "features",
    [np.full((6, 3), 0.5), np.zeros((6, 3)), np.full((6, 3), 1e30), np.eye(6, 3) * 1e-30],
    ids=["constant", "zero", "huge", "tiny"],
)
def test_features_that_hardly_vary_give_finite_distances(features: Doubles) -> None:
    found = fit(features.astype(np.float32), np.array([0, 0, 1, 1, 2, 2]))
    assert np.isfinite(found.weight).all() and np.isfinite(found.centres).all()
    assert np.isfinite(statistics.distances(found, features.astype(np.float32))).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(2, 40),
    classes=st.integers(1, 5),
    size=st.sampled_from([1e-12, 1e-3, 1.0, 1e4]),
    decimals=st.sampled_from([None, 0]),
)
def test_distances_are_never_nan_nor_negative(
    seed: int, rows: int, classes: int, size: float, decimals: int | None
) -> None:
    features, labels = clouds(seed, rows=rows, classes=classes)
    if decimals is not None:
        features = (features / 9).round(decimals)  # rows tie, and may lie on a centre
    features = (features * size).astype(np.float32)
    found = fit(features, labels)
    on_centre = np.linalg.lstsq(found.weight.T, (found.centres - found.bias).T, rcond=None)[0].T
    for probe in (features, on_centre.astype(np.float32), -1e3 * features):
        apart = statistics.distances(found, probe)
        assert np.isfinite(apart).all() and (apart >= 0).all()


def test_on_a_centre_the_distance_is_nought_whatever_rounding_leaves() -> None:
    # Squares of thousands cancel: of some rows, to a little less than nothing.
    centres = (1000 * np.random.default_rng(0).normal(size=(500, 8))).astype(np.float32)
    typicality = Typicality(
        "layer", TapKind.VECTOR, np.eye(8, dtype=np.float32), np.zeros(8, np.float32), centres
    )
    np.testing.assert_allclose(statistics.distances(typicality, centres).diagonal(), 0, atol=1e-3)


@pytest.mark.parametrize(
    "centres", [np.zeros((0, 3)), np.zeros(3), np.zeros((2, 4))], ids=["none", "flat", "wide"]
)
def test_centres_of_another_form_are_refused(centres: Doubles) -> None:
    with pytest.raises(ExportError, match="typicality of layer: expected at least one centre of 3 values"):
        Typicality(
            "layer",
            TapKind.VECTOR,
            np.eye(3, dtype=np.float32),
            np.zeros(3, np.float32),
            centres.astype(np.float32),
        )


@pytest.mark.parametrize("absent", [(2,), (0, 3), (1, 2, 3)])
def test_of_a_class_without_images_the_free_tests_say_nothing(absent: tuple[int, ...]) -> None:
    drawn, known = statistics_of(6, rows=300), known_of(4, absent=absent)
    apart = statistics.distances(known.typicality, drawn.features)
    look = FirstLook(drawn.raw, drawn.early, apart)
    gate = fit_tests(look, drawn.second, known, early_weight=0.2)
    unknown = np.isin(look.predicted, absent)
    wanted = fit_scale(look.distance, look.predicted, classes=4)
    for label in range(4):
        if label in absent:
            assert gate.disagreement_scale.inverse_std[label, 0] == 0
            assert gate.typicality_scale.inverse_std[label, 0] == 0
        else:
            assert gate.typicality_scale.mean[label, 0] == wanted.mean[label, 0]
            assert gate.typicality_scale.inverse_std[label, 0] == wanted.inverse_std[label, 0]
    # Whatever their features and early evidence are, far off ones included.
    far = FirstLook(drawn.raw, drawn.early - 1000 * np.eye(4)[absent[0]], 100 * apart)
    for seen in (look, far):
        disagreement, distance = free_statistics(gate, seen)
        assert unknown.any() and (disagreement[unknown] == 0).all() and (distance[unknown] == 0).all()
        assert np.isfinite(disagreement).all() and np.isfinite(distance).all()
        assert (distance[~unknown] != 0).all()
    assert (gate.response_scale.inverse_std > 0).all(), "pass 2 still tells them by what all classes share"


@pytest.mark.parametrize("absent", [60, 110])
def test_among_many_classes_those_without_images_are_judged_as_the_others_when_left_out(absent: int) -> None:
    classes = 120
    known = known_of(classes, absent=tuple(range(absent)))
    drawn, fresh = (statistics_of(seed, rows=3000, classes=classes) for seed in (1, 2))
    look, strange = (
        FirstLook(one.raw, one.early, statistics.distances(known.typicality, one.features))
        for one in (drawn, fresh)
    )
    seen = look.predicted >= absent
    look, second = look.take(seen), drawn.second[seen]
    if absent == 110:  # ten classes do not stand for a hundred others
        gate = fit_tests(look, second, known, early_weight=0.2)
        assert (gate.typicality_scale.inverse_std[:absent] == 0).all()
        return
    gate = fit_tests(look, second, known, early_weight=0.2)
    _, distance = free_statistics(gate, strange)
    unknown = strange.predicted < absent
    assert unknown.sum() > 1000 and distance[unknown].std() > 0
    # Heard, on the scale of the classes that images stand for: as many beyond it as of those.
    left_out = np.array(look.apart)
    left_out[np.arange(len(left_out)), look.predicted - absent] = np.inf
    nearest = left_out.min(1)
    limit = (np.quantile(nearest, 0.98) - nearest.mean()) / nearest.std()
    assert (distance[unknown] > limit).mean() < 0.06
    far = FirstLook(strange.raw, strange.early, strange.apart + 10 * nearest.max())
    assert (free_statistics(gate, far)[1][unknown] > limit).all()


def test_early_evidence_no_better_than_a_guess_leaves_the_free_score_alone() -> None:
    drawn = statistics_of(9, rows=300)
    gate = fit_tests(drawn.look, drawn.second, drawn.known, early_weight=0.0)
    other = FirstLook(drawn.raw, drawn.early[::-1], drawn.look.apart)
    np.testing.assert_array_equal(free_score(gate, drawn.look), free_score(gate, other))
    heard = fit_tests(drawn.look, drawn.second, drawn.known, early_weight=0.1)
    assert (free_score(heard, drawn.look) != free_score(heard, other)).any()


def test_the_network_s_own_last_layer_is_heard_but_never_answers() -> None:
    drawn = statistics_of(10, rows=300)
    known = replace(drawn.known, readouts=tuple(replace(one, tap="features") for one in drawn.known.readouts))
    labels = drawn.early.argmax(1)
    assert drawn.known.early_weight(drawn.early, labels) > 0
    assert known.own and known.early_weight(drawn.early, labels) == 0
    gate = fit_tests(drawn.look, drawn.second, known, early_weight=0.0)
    other = FirstLook(drawn.raw, drawn.early[::-1], drawn.look.apart)
    assert (free_score(gate, drawn.look) != free_score(gate, other)).any()


def test_classes_that_are_all_present_are_all_heard() -> None:
    drawn = statistics_of(7, rows=200)
    gate = fit_tests(drawn.look, drawn.second, drawn.known, early_weight=0.2)
    wanted = fit_scale(drawn.look.distance, drawn.look.predicted, classes=4)
    np.testing.assert_array_equal(gate.typicality_scale.mean, wanted.mean)
    np.testing.assert_array_equal(gate.typicality_scale.inverse_std, wanted.inverse_std)
    assert (gate.disagreement_scale.inverse_std > 0).all()


def test_read_outs_that_know_nothing_say_nothing_when_a_row_is_answered() -> None:
    labels = np.arange(400) % 4
    guess = np.full((400, 4), -math.log(4))
    assert early_weight(guess, labels) == pytest.approx(0, abs=1e-12)
    misled = statistics.log_softmax(5 * np.eye(4)[(labels + 1) % 4])
    assert early_weight(misled, labels) == 0, "worse than a guess counts no less than nothing"
    unsure = statistics.log_softmax(1e-9 * np.random.default_rng(0).normal(size=(400, 4)))
    assert early_weight(unsure, labels) == pytest.approx(0, abs=1e-6)


def test_read_outs_that_know_everything_count_four_tenths() -> None:
    labels = np.arange(400) % 4
    sure = statistics.log_softmax(1000 * np.eye(4)[labels])
    assert early_weight(sure, labels) == EARLY_WEIGHT == 0.4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), classes=st.integers(2, 9), force=st.floats(0, 50))
def test_the_weight_of_early_evidence_is_its_share_of_the_labels_information(
    seed: int, classes: int, force: float
) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=60)
    early = statistics.log_softmax(force * np.eye(classes)[labels] + random.normal(size=(60, classes)))
    surprise = math.fsum(-early[row, label] for row, label in enumerate(labels)) / 60
    wanted = 0.4 * max(0, 1 - surprise / math.log(classes))
    found = early_weight(early, labels)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert 0 <= found <= 0.4


def test_features_take_part_as_the_centre_they_lie_nearest_to() -> None:
    known = known_of(3)
    features = known.typicality.centres.astype(np.float64) + 0.01
    look = FirstLook(np.eye(3), np.zeros((3, 3)), statistics.distances(known.typicality, features))
    np.testing.assert_allclose(look.distance[:, 0], 0.01 * math.sqrt(3), rtol=1e-3)
    swapped = replace(look, apart=look.apart[:, ::-1])
    np.testing.assert_array_equal(swapped.distance, look.distance)
