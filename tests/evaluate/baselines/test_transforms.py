from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nip_evaluate.baselines import network_labels, transform_defences
from nip_evaluate.baselines.network import Forward, remembering
from nip_evaluate.baselines.transforms import bit_depth, jpeg, median, transformations
from nip_evaluate.terms.threats import Images, Labels
from tests.evaluate.baselines.conftest import Stand

SHAPES = ((1, 28, 28), (3, 32, 24), (2, 16, 16))


def noise(shape: tuple[int, ...], count: int = 3) -> Images:
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_transformation_keeps_the_form_and_changes_images(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    for transformation in transformations():
        changed = transformation.apply(images)
        assert changed.shape == images.shape and changed.dtype == np.float32
        assert changed.min() >= 0 and changed.max() <= 1
        least = 1 / 1100 if transformation.name == "8-bit rounding" else 0.005
        assert np.abs(changed - images).mean() > least, transformation.name


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_do_not_depend_on_their_batch(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    for transformation in transformations():
        alone = np.concatenate([transformation.apply(image[None]) for image in images])
        np.testing.assert_array_equal(alone, transformation.apply(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_makes_of_the_rounded_image(channels: int) -> None:
    images = noise((channels, 24, 16), 1)
    levels = np.rint(images[0] * 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(levels[0] if channels == 1 else levels.transpose(1, 2, 0)).save(
        buffer, format="jpeg", quality=50
    )
    expected = np.asarray(Image.open(buffer), np.float32) / 255
    expected = expected[None] if channels == 1 else expected.transpose(2, 0, 1)
    np.testing.assert_allclose(jpeg(50).apply(images)[0], expected, atol=1e-6)


def test_jpeg_loses_more_at_lower_quality(stand: Stand) -> None:
    losses = [float(np.abs(jpeg(q).apply(stand.images) - stand.images).mean()) for q in (90, 75, 50, 25)]
    assert 0 < losses[0] < losses[1] < losses[2] < losses[3]


def test_jpeg_does_not_darken_an_even_surface() -> None:
    levels = np.arange(0, 256, 17, dtype=np.float32) / 255
    flat = np.broadcast_to(levels[:, None, None, None], (16, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(jpeg(90).apply(flat), flat, atol=1.01 / 255)
    assert abs(float((jpeg(90).apply(flat) - flat).mean())) < 0.1 / 255


def test_rounding_to_8_bits_leaves_stored_images_alone(stand: Stand) -> None:
    np.testing.assert_allclose(bit_depth(8).apply(stand.images), stand.images, atol=1e-7)


def test_bits_and_median_by_definition() -> None:
    images = noise((1, 5, 5), 1)
    np.testing.assert_allclose(np.unique(bit_depth(2).apply(images)), [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    assert median(3).apply(images)[0, 0, 2, 2] == np.median(images[0, 0, 1:4, 1:4])


def test_answers_hold_what_the_network_says_before_and_after(stand: Stand, forward: Forward) -> None:
    labels = network_labels(forward)
    defences, left_out = transform_defences(labels, stand.images.shape[1:])
    assert not left_out and len(defences) == len({defence.name for defence in defences}) == 12
    (strong,) = (defence for defence in defences if defence.name == "bit depth 1")
    answers = strong.answer(stand.images)
    np.testing.assert_array_equal(answers.raw_labels, labels(stand.images))
    np.testing.assert_array_equal(answers.labels, labels(np.rint(stand.images).astype(np.float32)))
    assert (answers.labels != answers.raw_labels).any()
    assert answers.flagged is None and answers.suspicion is None and strong.passes == 1


def test_what_does_not_fit_the_input_is_named_with_the_reason() -> None:
    def labels(images: Images) -> Labels:
        return np.zeros(len(images), np.int64)

    defences, left_out = transform_defences(labels, (1, 16000))
    assert [entry.what for entry in left_out] == ["JPEG compression"]
    assert all("(1, 16000)" in entry.why for entry in left_out)
    sounds = np.linspace(0, 1, 32000, dtype=np.float32).reshape(2, 1, 16000)
    assert len(defences) == 8 and all(len(defence.answer(sounds)) == 2 for defence in defences)


def test_sequences_are_smoothed_along_time_and_within_their_own_bounds() -> None:
    sounds = np.random.default_rng(0).uniform(-1, 1, (3, 1, 40)).astype(np.float32)
    asked: list[Images] = []

    def labels(images: Images) -> Labels:
        asked.append(images)
        return np.zeros(len(images), np.int64)

    defences, _ = transform_defences(labels, (1, 40), (-1.0, 1.0))
    by_name = {defence.name: defence for defence in defences}
    by_name["median 3"].answer(sounds)
    middle = np.stack([sounds[..., :-2], sounds[..., 1:-1], sounds[..., 2:]])
    np.testing.assert_allclose(asked[0][..., 1:-1], np.median(middle, axis=0), atol=1e-6)
    asked.clear()
    by_name["8-bit rounding"].answer(sounds)
    assert 0 < np.abs(asked[0] - sounds).max() <= 1 / 255 + 1e-6
    asked.clear()
    by_name["bit depth 1"].answer(sounds)
    np.testing.assert_array_equal(asked[0], np.where(sounds > 0, 1, -1))


def test_videos_fit_where_the_library_takes_them() -> None:
    def labels(images: Images) -> Labels:
        bright: Labels = (images.mean((1, 2, 3, 4)) > 0.5).astype(np.int64)
        return bright

    defences, left_out = transform_defences(labels, (1, 2, 8, 8))
    assert not left_out
    assert all(defence.answer(noise((1, 2, 8, 8))).labels.shape == (3,) for defence in defences)


def test_remembering_asks_again_only_about_other_images() -> None:
    asked: list[int] = []

    def labels(images: Images) -> Labels:
        asked.append(len(images))
        highest: Labels = images.argmax(1).astype(np.int64)
        return highest

    remembered, images = remembering(labels), noise((4,), 5)
    first = remembered(images)
    np.testing.assert_array_equal(first, remembered(images.copy()))
    assert asked == [5]
    images[0] = 1 - images[0]  # the same array with other content is another question
    np.testing.assert_array_equal(remembered(images), images.argmax(1))
    assert asked == [5, 5]
