"""What all detectors have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nip_evaluate.baselines import Detector, Laboratory, detector_fits
from nip_evaluate.baselines.network import Forward
from nip_evaluate.terms.threats import Images
from tests.evaluate.baselines.conftest import Stand

NAMES = (
    "mirror agreement, L1",
    "feature squeezing, joint",
    "energy",
    "largest logit",
    "smallest margin",
    "AFLS-AED, RT",
    "AFLS-AED, LT",
    "AFLS-AED, RT and LT",
)
ANSWERING = NAMES[:2]
Fits = Mapping[str, Callable[[], Detector]]


@pytest.fixture(scope="module")
def fits(laboratory: Laboratory, forward: Forward) -> Fits:
    made = detector_fits(forward, laboratory.bench)
    return {name: cache(fit) for name, fit in made.items()}


def test_names_are_those_of_the_detectors(fits: Fits) -> None:
    assert tuple(fits) == NAMES
    assert [fit().name for fit in fits.values()] == list(NAMES)
    assert [fits[name]().passes for name in NAMES] == [2, 4, 1, 1, 1, 1, 5, 5]


@pytest.mark.parametrize("name", NAMES)
def test_the_budget_is_kept_on_benign_images_and_used(fits: Fits, stand: Stand, name: str) -> None:
    detector = fits[name]()
    for budget in (0.02, 0.1):
        held = detector.held_out
        flagged = held.score > detector.threshold(budget)
        assert 0 < flagged[held.correct].mean() <= budget
        seen = detector.defence(budget).answer(stand.calibration.inputs)
        right = seen.raw_labels == stand.calibration.labels
        np.testing.assert_array_equal(right, held.correct)
        # Fitted to all of them, its score differs from the held-out one by little.
        assert seen.flagged is not None
        assert seen.flagged[right].mean() <= budget + 0.02


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), cut=st.integers(1, 11))
def test_rows_do_not_depend_on_their_batch(
    fits: Fits, stand: Stand, name: str, order: list[int], cut: int
) -> None:
    detector, images = fits[name](), stand.images[:12]
    together = detector.view(images)
    mixed = images[order]
    parts = [detector.view(mixed[:cut]), detector.view(mixed[cut:])]
    scores = np.concatenate([part.score for part in parts])
    np.testing.assert_allclose(scores, together.score[order], rtol=1e-3, atol=2e-3)
    corrected = np.concatenate([part.corrected_labels for part in parts])
    np.testing.assert_array_equal(corrected, together.corrected_labels[order])
    assert together.flaggable.all()


@pytest.mark.parametrize("name", NAMES)
def test_only_those_with_another_opinion_correct(
    fits: Fits, stand: Stand, attacked: Images, forward: Forward, name: str
) -> None:
    view = fits[name]().view(attacked)
    np.testing.assert_array_equal(view.raw_labels, forward(attacked).argmax(1))
    assert (view.corrected_labels != view.raw_labels).any() == (name in ANSWERING)


def test_images_are_not_attacked_before_a_detector_is_asked_for(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(images: Images) -> Images:
        raise AssertionError("another pass")

    monkeypatch.setattr("nip_evaluate.baselines.afls.run_network", refused)
    assert len(detector_fits(refused, laboratory.bench)) == len(NAMES)
