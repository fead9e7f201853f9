from __future__ import annotations

import numpy as np
import pytest

from nip_evaluate.baselines import OddsTest, fit_odds
from nip_evaluate.baselines.network import Forward, Logits
from nip_evaluate.baselines.noise import MOST_LOST, SIGMAS, choose_sigma, noise_patterns
from nip_evaluate.terms.threats import Images
from nip_runtime.errors import ExportError
from tests.evaluate.baselines.conftest import Stand

BUDGET = 0.05
SAMPLES = 3


@pytest.fixture(scope="module")
def odds(stand: Stand, forward: Forward) -> OddsTest:
    benign = stand.calibration
    return fit_odds(forward, benign.inputs, benign.labels, samples=SAMPLES, seed=5)


def test_statistic_is_the_standardised_gain_on_the_predicted_class(
    stand: Stand, forward: Forward, odds: OddsTest
) -> None:
    patterns = np.random.default_rng(5).standard_normal((SAMPLES, 1, 28, 28), dtype=np.float32) * odds.sigma
    image = stand.images[:1]
    raw = forward(image)[0].astype(np.float64)
    y = int(raw.argmax())
    gains = [(forward(image + p)[0] - forward(image + p)[0, y]) - (raw - raw[y]) for p in patterns]
    standardised = (np.mean(gains, 0) - odds.scale.mean[y]) * odds.scale.inverse_std[y]
    standardised[y] = -np.inf
    view = odds.view(image)
    np.testing.assert_allclose(view.score, standardised.max(), rtol=1e-3, atol=1e-3)
    assert view.corrected_labels[0] == standardised.argmax() and view.raw_labels[0] == y


def test_rows_do_not_depend_on_their_batch(stand: Stand, odds: OddsTest) -> None:
    defence = odds.defence(BUDGET)
    together = defence.answer(stand.images)
    parts = [defence.answer(stand.images[::-1][start : start + 7]) for start in range(0, 40, 7)]
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts])[::-1], together.labels)
    suspicion = np.concatenate([part.suspicion for part in parts if part.suspicion is not None])[::-1]
    assert together.suspicion is not None
    np.testing.assert_allclose(suspicion, together.suspicion, rtol=1e-3, atol=1e-4)


def test_threshold_keeps_the_budget_on_calibration_images(odds: OddsTest) -> None:
    for budget in (0.02, 0.05, 0.2):
        flagged = (odds.held_out.score > odds.threshold(budget))[odds.held_out.correct]
        assert flagged.mean() <= budget
        cost = odds.held_out.cost(budget)
        assert cost.flag_rate.n == odds.held_out.correct.sum() and cost.flag_rate.value <= 1.3 * budget
        assert cost.accuracy_defended.count >= cost.accuracy_raw.count - cost.flag_rate.count
    assert flagged.sum() > 0


def test_flagged_rows_alone_are_answered_anew(stand: Stand, odds: OddsTest) -> None:
    generous = odds.defence(0.6).answer(stand.calibration.inputs[:100])
    assert generous.flagged is not None and 10 < generous.flagged.sum() < 90
    np.testing.assert_array_equal(generous.labels != generous.raw_labels, generous.flagged)
    view = odds.view(stand.calibration.inputs[:100])
    np.testing.assert_array_equal(view.labels(odds.threshold(0.6)), generous.labels)


def test_it_finds_and_corrects_pgd(stand: Stand, attacked: Images, forward: Forward) -> None:
    held = stand.calibration
    test = fit_odds(forward, held.inputs, held.labels, samples=4, sigma=6 / 255)
    benign, under_attack = (test.defence(BUDGET).answer(images) for images in (stand.images, attacked))
    hit = (benign.raw_labels == stand.labels) & (under_attack.raw_labels != stand.labels)
    assert hit.sum() >= 15
    assert benign.flagged is not None and under_attack.flagged is not None
    assert under_attack.flagged[hit].mean() > 0.4 > 0.15 >= benign.flagged.mean()
    assert (under_attack.labels == stand.labels)[hit].mean() > 0.15


def test_passes_and_noise_are_told(odds: OddsTest) -> None:
    defence = odds.defence(BUDGET)
    assert defence.passes == 1 + SAMPLES and defence.name == "noise odds, 3 samples"
    assert f"{odds.sigma * 255:g}/255" in defence.description and "5.00%" in defence.description


def test_sigma_is_the_last_before_benign_accuracy_drops(stand: Stand, forward: Forward) -> None:
    images, labels = stand.calibration.inputs, stand.calibration.labels
    pattern = noise_patterns(len(images), images.shape[1:], 5)
    sigma = choose_sigma(forward, images, labels, 5)
    kept = (forward(images).argmax(1) == labels).mean() - MOST_LOST

    def accuracy(scale: float) -> float:
        return float((forward(images + np.float32(scale) * pattern).argmax(1) == labels).mean())

    assert accuracy(sigma) >= kept
    assert accuracy(SIGMAS[SIGMAS.index(sigma) + 1]) < kept


def test_patterns_come_from_the_seed_alone() -> None:
    np.testing.assert_array_equal(noise_patterns(2, (3,), 1), noise_patterns(2, (3,), 1))
    assert (noise_patterns(2, (3,), 1) != noise_patterns(2, (3,), 2)).all()


def test_too_few_images_are_refused(stand: Stand, forward: Forward, odds: OddsTest) -> None:
    with pytest.raises(ExportError, match=r"benign_budget: .* cannot show that at most 0.01%"):
        odds.defence(0.0001)
    with pytest.raises(ExportError, match="expected at least 50 correctly classified calibration images"):
        fit_odds(forward, stand.images, stand.labels, samples=1)


def test_a_class_that_noise_favours_is_found() -> None:
    """A network whose answer noise overturns exactly where a marked pixel says so."""

    def forward(images: Images) -> Logits:
        values = images.reshape(len(images), -1)
        noisy = np.abs(values[:, 1:] - np.rint(values[:, 1:])).mean(1) * 50
        hidden = np.where(values[:, 0] > 0.5, noisy, 0)
        own = np.rint(values[:, 1]).clip(0, 1)
        return np.stack([3 * own, 3 - 3 * own, hidden], 1).astype(np.float32)

    random = np.random.default_rng(0)
    benign = np.concatenate([np.zeros((400, 1)), random.integers(0, 2, (400, 20))], 1).astype(np.float32)
    labels = forward(benign).argmax(1).astype(np.int64)
    test = fit_odds(forward, benign, labels, samples=4, sigma=0.1)
    marked = benign[:50].copy()
    marked[:, 0] = 1
    answers = test.defence(0.02).answer(marked)
    assert answers.flagged is not None and answers.flagged.all() and (answers.labels == 2).all()
