"""Recordings become inputs as the manifest pins it, and what can't be read says so in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from nip_export.commands.images import read_labelled
from nip_export.data import read_recordings, sound_input
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import SoundCut
from nip_runtime.inputs.images import find_files, read_file, suffixes_of
from nip_runtime.inputs.sound import resampled, span

soundfile: Any = pytest.importorskip("soundfile")
RATE, SAMPLES = 8000, 400
SPEC = sound_input(RATE, SAMPLES)


def noise(count: int, seed: int = 0) -> NDArray[np.float64]:
    """On a grid of 16 bits, which WAV and FLAC keep."""
    drawn = np.random.default_rng(seed).uniform(-0.9, 0.9, count)
    return np.round(drawn * 32768) / 32768


def stored(folder: Path, samples: NDArray[np.float64], rate: int = RATE, name: str = "a.wav") -> Path:
    path = folder / name
    soundfile.write(path, samples, rate, subtype="PCM_16" if path.suffix != ".ogg" else None)
    return path


@pytest.mark.parametrize("name", ["a.wav", "é.flac", "b.aiff"])
def test_a_recording_of_the_right_form_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    samples = noise(SAMPLES)
    found = read_file(stored(tmp_path, samples, name=name), SPEC)
    assert found.dtype == np.float32 and found.shape == (1, 1, SAMPLES)
    np.testing.assert_array_equal(found[0, 0], samples.astype(np.float32))


@pytest.mark.parametrize(("cut", "start"), [(SoundCut.MIDDLE, 150), (SoundCut.START, 0)])
def test_a_long_one_is_cut_and_a_short_one_gets_silence_behind(
    tmp_path: Path, cut: SoundCut, start: int
) -> None:
    spec, samples = sound_input(RATE, SAMPLES, cut=cut), noise(SAMPLES + 300)
    found = read_file(stored(tmp_path, samples), spec)[0, 0]
    np.testing.assert_array_equal(found, samples[start : start + SAMPLES].astype(np.float32))
    found = read_file(stored(tmp_path, samples[:100]), spec)[0, 0]
    np.testing.assert_array_equal(found[:100], samples[:100].astype(np.float32))
    assert not found[100:].any()


def test_channels_are_averaged_and_full_scale_is_the_upper_bound(tmp_path: Path) -> None:
    left, right = noise(SAMPLES), noise(SAMPLES, 1)
    path = stored(tmp_path, np.stack([left, right], axis=1))
    found = read_file(path, replace(SPEC, bounds=(-32768.0, 32768.0)))[0, 0]
    np.testing.assert_allclose(found, (left + right) / 2 * 32768, atol=1e-2)


@pytest.mark.parametrize("rate", [44100, 16000, 11025, 7350, 4000])
def test_other_rates_are_resampled_as_scipy_does_it_by_default(tmp_path: Path, rate: int) -> None:
    """Only the piece that is heard is computed; it is that piece of the whole."""
    samples = noise(int(rate * 0.2))
    common = np.gcd(rate, RATE)
    whole = resample_poly(samples, RATE // common, rate // common)
    start = (len(whole) - SAMPLES) // 2
    found = read_file(stored(tmp_path, samples, rate), SPEC)[0, 0]
    np.testing.assert_allclose(found, np.clip(whole[start : start + SAMPLES], -1, 1), atol=1e-6)


def test_a_piece_is_what_the_whole_has_there() -> None:
    samples = noise(3000)
    for start, stop in ((0, 700), (100, 101), (650, 900)):
        first, last = span(start, stop, 22050, RATE)
        padded = np.pad(samples, (max(0, -first), max(0, last - len(samples))))
        piece = padded[max(first, 0) : max(first, 0) + last - first]
        whole = resample_poly(samples, 160, 441)
        found = resampled(piece, first, start, stop, 22050, RATE)
        np.testing.assert_allclose(found, whole[start:stop], atol=1e-12)


def test_what_overshoots_is_clipped_and_another_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.wav"
    soundfile.write(path, np.full(SAMPLES, 1.2), RATE, subtype="FLOAT")
    assert (read_file(path, SPEC) == 1).all()
    for value, shown in ((300.0, "a peak of 300"), (np.nan, "a peak of nan"), (np.inf, "a peak of inf")):
        soundfile.write(path, np.full(SAMPLES, value), RATE, subtype="FLOAT")
        with pytest.raises(InputError, match=rf"samples from −1 to 1 at .*float\.wav, got {shown}"):
            read_file(path, SPEC)


def test_what_is_too_short_or_no_recording_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least 0\.005 s at .*a\.wav, got 0\.0025 s; record more"):
        read_file(stored(tmp_path, noise(20)), SPEC)
    for content in (b"", b"RIFF", b"no sound at all" * 50):
        (tmp_path / "b.wav").write_bytes(content)
        with pytest.raises(InputError, match=r"recording at .*b\.wav, got something libsndfile can't decode"):
            read_file(tmp_path / "b.wav", SPEC)
    with pytest.raises(InputError, match=r"nothing|No such file"):
        read_file(tmp_path / "c.wav", SPEC)


def test_a_file_that_was_cut_off_is_refused_or_shorter(tmp_path: Path) -> None:
    path = stored(tmp_path, noise(SAMPLES * 20), name="a.flac")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"a\.flac"):
        read_file(path, SPEC)


def test_a_folder_is_searched_for_what_the_model_takes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.FLAC", "c.png", "d.npy", "e.txt"):
        (tmp_path / name).touch()
    found = [path.name for path in find_files([tmp_path], suffixes_of(SPEC))]
    assert found == ["a.wav", "b.FLAC", "d.npy"]


def test_a_folder_per_class_becomes_labelled_recordings(tmp_path: Path) -> None:
    for number, name in enumerate(("beth", "adam")):
        (tmp_path / name / "deep").mkdir(parents=True)
        stored(tmp_path / name / "deep", noise(SAMPLES, number), name="x.wav")
        stored(tmp_path / name, noise(SAMPLES, number + 5), name="a.flac")
    data = read_recordings(tmp_path, SPEC)
    assert data.class_names == ("adam", "beth") and data.labels.tolist() == [0, 0, 1, 1]
    assert data.images.shape == (4, 1, SAMPLES) and data.bounds == (-1.0, 1.0)
    np.testing.assert_array_equal(data.images[3, 0], noise(SAMPLES, 0).astype(np.float32))
    (tmp_path / "adam" / "z.wav").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"1 of 5 recordings in .*z\.wav, got something libsndfile"):
        read_recordings(tmp_path, SPEC)
    with pytest.raises(InputError, match="one subfolder"):
        read_recordings(tmp_path / "adam" / "z.wav", SPEC)


def test_folders_named_by_numbers_have_these_as_class_numbers(tmp_path: Path) -> None:
    """As among images; sorted as text, 10 would be the second of them."""
    for number in (1, 2, 10):
        (tmp_path / str(number)).mkdir()
        stored(tmp_path / str(number), noise(SAMPLES, number))
    data = read_recordings(tmp_path, SPEC)
    assert data.class_names is None and sorted(data.labels.tolist()) == [1, 2, 10]
    for image, label in zip(np.asarray(data.images), data.labels, strict=True):
        np.testing.assert_array_equal(image[0], noise(SAMPLES, int(label)).astype(np.float32))
    named = read_labelled(tmp_path, None, tuple("abcdefghijk"), SPEC)
    assert named.labels.tolist() == data.labels.tolist()


def test_an_input_that_can_hold_no_recording_is_refused() -> None:
    with pytest.raises(InputError, match="rate: expected at least 1"):
        sound_input(0, 100)
    with pytest.raises(InputError, match="bounds lie evenly around 0"):
        sound_input(RATE, 100, bounds=(0.0, 1.0))


def test_a_wav_file_that_was_cut_off_is_refused_and_one_from_a_pipe_is_not(tmp_path: Path) -> None:
    path = stored(tmp_path, noise(SAMPLES))
    whole = path.read_bytes()
    path.write_bytes(whole[:-SAMPLES])
    with pytest.raises(InputError, match=rf"{2 * SAMPLES} bytes of sound at .*a\.wav.* got {SAMPLES};"):
        read_file(path, SPEC)
    at = whole.index(b"data") + 4
    path.write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    np.testing.assert_array_equal(read_file(path, SPEC)[0, 0], noise(SAMPLES).astype(np.float32))
