from __future__ import annotations

import numpy as np
import pytest

from nip_evaluate.baselines.network import Forward, Logits
from nip_evaluate.baselines.squeezing import (
    fit_squeezing,
    non_local_means,
    squeezed_view,
    squeezers,
)
from nip_evaluate.terms.threats import Images
from nip_runtime.errors import ExportError
from tests.evaluate.baselines.conftest import Stand


def chequered(images: Images) -> Logits:
    """Class 1 where neighbours differ by more than 2/255, class 0 elsewhere: what squeezing takes away."""
    rough = np.abs(np.diff(images, axis=-1)).mean((1, 2, 3)) * 255
    return np.stack([np.full(len(images), 2.0), rough], 1).astype(np.float32) * 20


def flat(level: float, count: int = 1, channels: int = 1) -> Images:
    return np.full((count, channels, 12, 12), level, np.float32)


def test_hidden_patterns_are_found_and_answered_as_squeezed() -> None:
    benign = np.concatenate([flat(level / 15, channels=1) for level in range(1, 15)] * 6)
    detector = fit_squeezing(chequered, benign, np.zeros(len(benign), np.int64))
    assert detector.passes == 4 and "4 bits" in detector.description
    attacked = flat(5 / 15)
    attacked[..., ::2] += np.float32(4 / 255)
    answers = detector.defence(0.1).answer(np.concatenate([attacked, flat(5 / 15)]))
    assert answers.flagged is not None and answers.flagged.tolist() == [True, False]
    assert answers.raw_labels.tolist() == [1, 0] and answers.labels.tolist() == [0, 0]
    assert answers.suspicion is not None and answers.suspicion[0] == pytest.approx(2, abs=1e-3)


def test_the_score_is_the_largest_distance_and_the_answer_that_version_s(
    stand: Stand, forward: Forward
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, stand.images.shape)
    images = np.concatenate([np.clip(stand.images + size * noise, 0, 1) for size in (0, 0.02, 0.1)])
    images = images.astype(np.float32)
    view = squeezed_view(forward, images)

    def softmax(logits: Logits) -> np.typing.NDArray[np.float64]:
        shares = np.exp(logits.astype(np.float64))
        return np.asarray(shares / shares.sum(1, keepdims=True))

    raw = softmax(forward(images))
    versions = [forward(squeeze(images)) for squeeze in squeezers(1)]
    farthest = set()
    for row in range(len(images)):
        distances = [np.abs(softmax(version)[row] - raw[row]).sum() for version in versions]
        best = int(np.argmax(distances))
        farthest.add(best)
        assert view.score[row] == pytest.approx(distances[best], abs=1e-6)
        assert view.corrected_labels[row] == versions[best][row].argmax()
    assert len(farthest) > 1, "else it need not be looked for"


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_non_local_means_takes_noise_away_and_leaves_surfaces(channels: int) -> None:
    random = np.random.default_rng(channels)
    surface = flat(0.5, 3, channels)
    surface[1, :, :, 6:] = 0.9
    noisy = np.clip(surface + random.normal(0, 1.5 / 255, surface.shape), 0, 1).astype(np.float32)
    smoothed = non_local_means(noisy)
    assert smoothed.shape == noisy.shape and smoothed.dtype == np.float32
    assert np.abs(smoothed - surface).mean() < 0.7 * np.abs(noisy - surface).mean()
    assert np.abs(non_local_means(surface) - surface).max() <= 2.01 / 255  # 8 bits, colours through Lab
    alone = np.concatenate([non_local_means(one[None]) for one in noisy])
    np.testing.assert_array_equal(alone, smoothed)
    if channels == 2:
        np.testing.assert_array_equal(non_local_means(noisy[:, 1:]), smoothed[:, 1:])


def test_bits_are_five_in_colour_and_four_without() -> None:
    ramp = np.linspace(0, 1, 144, dtype=np.float32).reshape(1, 1, 12, 12)
    assert len(np.unique(squeezers(1)[0](ramp))) == 16
    assert len(np.unique(squeezers(3)[0](ramp.repeat(3, 1)))) == 32


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(
        ExportError, match=r"expected images \(C, H, W\) to squeeze, got inputs of shape \(5,"
    ):
        fit_squeezing(chequered, np.zeros((60, 5), np.float32), np.zeros(60, np.int64))
