from __future__ import annotations

import numpy as np
import pytest

from nip_evaluate.baselines import label_agreement
from nip_evaluate.baselines.agreement import fit_agreement, mirror_view
from nip_evaluate.baselines.network import Logits
from nip_evaluate.terms.threats import Images
from nip_runtime.errors import ExportError


def sides(images: Images) -> Logits:
    """Class 0: brighter at the left; class 1: at the right; class 2: dark."""
    half = images.shape[-1] // 2
    left, right = (part.mean((1, 2, 3)) for part in (images[..., :half], images[..., half:]))
    return np.stack([4 * left, 4 * right, np.full(len(images), 0.1)], 1).astype(np.float32)


def image(left: float, right: float) -> Images:
    return np.repeat(np.array([left, right], np.float32), 2)[None, None, None].repeat(4, 2)


def softmax(*logits: float) -> np.typing.NDArray[np.float64]:
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


def test_distance_and_labels_by_hand() -> None:
    view = mirror_view(sides, np.concatenate([image(0.5, 0.25), image(0.3, 0.3), image(0, 0)]))
    apart = np.abs(softmax(2, 1, 0.1) - softmax(1, 2, 0.1)).sum()
    np.testing.assert_allclose(view.score, [apart, 0, 0], atol=1e-6)
    assert view.raw_labels.tolist() == [0, 0, 2]
    assert view.corrected_labels.tolist() == [1, 0, 2]
    assert view.flaggable.all()


def test_labels_that_differ_are_flagged_whatever_the_distance() -> None:
    answers = label_agreement(sides, (1, 4, 4)).answer(np.concatenate([image(0.26, 0.25), image(0.9, 0.9)]))
    assert answers.flagged is not None and answers.flagged.tolist() == [True, False]
    assert answers.labels.tolist() == [1, 0] and answers.raw_labels.tolist() == [0, 0]
    assert answers.suspicion is not None and 0 < answers.suspicion[0] < 0.05


def test_the_budgeted_form_lets_small_disagreement_pass_and_answers_as_the_mirror_image() -> None:
    random = np.random.default_rng(0)
    benign = np.concatenate([image(0.3, 0.3 - tilt) for tilt in random.uniform(0, 0.05, 400)])
    detector = fit_agreement(sides, benign, np.zeros(400, np.int64))
    assert detector.passes == 2
    answers = detector.defence(0.05).answer(np.concatenate([image(0.3, 0.29), image(0.9, 0.1)]))
    assert answers.flagged is not None and answers.flagged.tolist() == [False, True]
    assert answers.labels.tolist() == [0, 1]


def test_inputs_without_an_axis_after_the_channels_are_refused() -> None:
    with pytest.raises(ExportError, match="mirror needs inputs with an axis"):
        label_agreement(sides, (5,))
    with pytest.raises(ExportError, match="mirror needs inputs with an axis"):
        fit_agreement(sides, np.zeros((60, 5), np.float32), np.zeros(60, np.int64))
