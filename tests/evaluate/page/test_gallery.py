from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from nip_evaluate.report.page import Gallery, make_gallery
from nip_evaluate.terms.answers import Answers
from nip_runtime.errors import InputError
from tests.evaluate.page.conftest import EPSILON, Fgsm


def decode(uri: str) -> npt.NDArray[np.uint8]:
    """RGB pixels (H, W, 3), read by another library than the one that wrote them."""
    header, _, body = uri.partition(",")
    assert header == "data:image/png;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(body), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[:, :, ::-1], np.uint8)


def arguments(fgsm: Fgsm) -> dict[str, Any]:
    rho = np.full_like(fgsm.clean, -4 / 255)
    rho[:, :, :14] = 4 / 255
    seen = np.clip(fgsm.attacked[..., ::-1] + rho, 0, 1).astype(np.float32)
    flagged = np.arange(len(fgsm.clean)) % 2 == 0
    return {
        "epsilon": EPSILON,
        "clean": fgsm.clean,
        "attacked": fgsm.attacked,
        "truth": fgsm.truth,
        "benign": Answers(fgsm.before, fgsm.before, np.zeros_like(flagged), None),
        "answers": Answers(np.where(flagged, fgsm.truth, fgsm.after), fgsm.after, flagged, None),
        "rho": rho,
        "seen": seen,
        "seen_labels": fgsm.labels(seen),
        "class_names": fgsm.example.class_names,
        "eps_pixel": 8 / 255,
    }


def make(fgsm: Fgsm, **changes: Any) -> Gallery | None:
    return make_gallery("FGSM 25/255", **{**arguments(fgsm), **changes})


def test_rows_are_the_first_images_the_attack_turned(fgsm: Fgsm) -> None:
    shown = make(fgsm)
    assert shown is not None
    assert len(fgsm.turned) > 6, "FGSM of this size turns most images"
    assert (shown.turned, len(shown.panels)) == (len(fgsm.turned), 6)
    assert (shown.difference_scale, shown.perturbation_scale) == (25, 8)
    names = fgsm.example.class_names
    for row, panel in zip(fgsm.turned, shown.panels, strict=False):
        assert panel.true_class == names[fgsm.truth[row]]
        assert panel.attacked_class == names[fgsm.after[row]] != panel.true_class
        assert panel.flagged is bool(row % 2 == 0)
        assert (panel.defended_class == panel.true_class) is panel.flagged
        pixels = np.round(fgsm.attacked[row, 0] * 255)
        assert np.array_equal(decode(panel.attacked_uri)[:, :, 1], pixels)


def test_difference_rho_and_defended_image_are_drawn_to_scale(fgsm: Fgsm) -> None:
    shown = make(fgsm)
    assert shown is not None
    row, panel = fgsm.turned[0], shown.panels[0]
    difference = decode(panel.difference_uri)[:, :, 0].astype(int)
    change = fgsm.attacked[row, 0] - fgsm.clean[row, 0]
    assert np.abs(difference - 127.5 * (1 + change / EPSILON)).max() <= 1
    assert set(np.unique(decode(panel.perturbation_uri)).tolist()) == {64, 191}
    rho = np.where(np.arange(28)[:, None] < 14, 4, -4)
    expected = np.clip(np.round(fgsm.attacked[row, 0, :, ::-1] * 255) + rho, 0, 255)
    assert np.abs(decode(panel.seen_uri)[:, :, 0] - expected).max() <= 1


def test_colours_stay_colours(fgsm: Fgsm) -> None:
    def rgb(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.concatenate([values, values * np.float32(0.5), values * np.float32(0)], axis=1)

    given = arguments(fgsm)
    shown = make(fgsm, **{name: rgb(given[name]) for name in ("clean", "attacked", "rho", "seen")})
    assert shown is not None
    pixels = decode(shown.panels[0].benign_uri).astype(int)
    assert pixels[:, :, 0].max() > 100
    assert np.abs(pixels[:, :, 1] - pixels[:, :, 0] / 2).max() <= 1
    assert pixels[:, :, 2].max() == 0


def test_inputs_that_are_no_images_have_no_gallery(fgsm: Fgsm) -> None:
    flat = fgsm.clean.reshape(len(fgsm.clean), -1)
    assert make(fgsm, clean=flat, attacked=flat, rho=flat, seen=flat) is None
    assert make(fgsm, clean=np.repeat(fgsm.clean, 2, axis=1)) is None


def test_nothing_turned_and_no_flags(fgsm: Fgsm) -> None:
    untouched = Answers(fgsm.before, fgsm.before, None, None)
    shown = make(fgsm, answers=untouched)
    assert shown is not None
    assert (shown.panels, shown.turned) == ((), 0)
    unflagged = Answers(fgsm.after, fgsm.after, None, None)
    shown = make(fgsm, answers=unflagged, epsilon=None)
    assert shown is not None
    assert shown.difference_scale == 32
    assert {panel.flagged for panel in shown.panels} == {None}


def test_arrays_of_other_images_are_refused(fgsm: Fgsm) -> None:
    with pytest.raises(InputError, match=r"expected a row for each of the 40 images"):
        make(fgsm, rho=fgsm.clean[:1])
    answers = arguments(fgsm)["answers"]
    with pytest.raises(InputError, match="same order"):
        make(fgsm, answers=replace(answers, labels=answers.labels[:3]))
