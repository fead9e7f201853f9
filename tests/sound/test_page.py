"""Recordings in the report: waveform and spectrogram, and what they are drawn to."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from nip_evaluate.report.page import make_gallery
from nip_evaluate.report.page.recordings import recording_uri, spectrogram_db
from nip_evaluate.terms.answers import Answers


def test_a_spectrogram_shows_a_sine_at_its_frequency_and_level() -> None:
    samples = 0.1 * np.sin(2 * np.pi * 16 / 128 * np.arange(1024))
    levels = spectrogram_db(samples)
    assert (levels.argmax(axis=0) == 16).all()
    np.testing.assert_allclose(levels[16], -20, atol=0.1)
    assert spectrogram_db(np.zeros(50)).max() == -80


def test_a_recording_is_drawn_as_it_sounds() -> None:
    def drawn(recording: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float32]:
        encoded = recording_uri(recording, limit=1.0).removeprefix("data:image/png;base64,")
        picture: np.typing.NDArray[np.float32] = imread(io.BytesIO(base64.b64decode(encoded)))
        return picture

    silence, sine = np.zeros((1, 500), np.float32), np.sin(np.arange(500, dtype=np.float32))[None]
    quiet, loud = drawn(silence), drawn(sine)
    assert quiet.shape == loud.shape == (120, 160, 4)
    assert (quiet[:60, :, 2] < 0.9).sum() < (loud[:60, :, 2] < 0.9).sum(), "the waveform, above"
    assert quiet[64:, :, 0].mean() + 0.02 < loud[64:, :, 0].mean(), "the spectrogram, below"


@pytest.mark.parametrize(("epsilon", "text"), [(0.002, "0.002"), (None, "0.01")])
def test_a_gallery_of_recordings_says_what_changes_are_drawn_to(epsilon: float | None, text: str) -> None:
    clean = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 1, 300)).astype(np.float32)
    attacked, truth = clean.copy(), np.array([0, 1])
    attacked[0, 0, 7] += np.float32(0.01)

    def answers(labels: list[int]) -> Answers:
        found = np.array(labels)
        return Answers(found, found, np.array([True, False]), np.zeros(2, np.float32))

    gallery = make_gallery(
        "PGD 0.002",
        epsilon=epsilon,
        clean=clean,
        attacked=attacked,
        truth=truth,
        benign=answers([0, 1]),
        answers=answers([1, 1]),
        rho=np.zeros_like(clean),
        seen=-attacked,
        seen_labels=truth,
        class_names=("ann", "bob"),
        eps_pixel=0.005,
    )
    assert gallery is not None and gallery.turned == len(gallery.panels) == 1
    assert gallery.scales == (text, "0.005")
    (panel,) = gallery.panels
    assert (panel.true_class, panel.attacked_class, panel.seen_class) == ("ann", "bob", "ann")
    assert len({panel.benign_uri, panel.attacked_uri, panel.difference_uri, panel.seen_uri}) == 4
