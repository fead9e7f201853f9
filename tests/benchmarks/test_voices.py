"""Corpora of voices are split as stated, the log-mel front is what it is called, tables are the results'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.voices import table
from benchmarks.voices.corpora import RATE, Corpus, load_voices, middle
from benchmarks.voices.networks import FACTORIES, Kind, LogMel, mel_bands
from benchmarks.voices.train import varied

soundfile: Any = pytest.importorskip("soundfile")


def test_the_log_mel_front_is_framing_dft_mel_and_logarithm() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 200)[::80]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    wanted = np.log(power @ mel_bands(200, 32).numpy().T + 1e-4).T
    found = LogMel()(torch.from_numpy(samples)[None, None])
    assert found.shape == (1, 1, 32, 11)
    np.testing.assert_allclose(found[0, 0].numpy(), wanted, atol=1e-3)


def test_mel_bands_are_triangles_that_meet() -> None:
    bands = mel_bands(2000, 8).numpy()
    centres = bands.argmax(1)
    assert (np.diff(centres) > 0).all() and (np.diff(np.diff(centres)) >= -1).all(), "wider upwards"
    between = bands[:, centres[0] + 1 : centres[-1]].sum(0)
    np.testing.assert_allclose(between, 1, atol=1e-4)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("corpus", Corpus)
def test_every_network_answers_every_corpus(kind: Kind, corpus: Corpus) -> None:
    classes = len(corpus.names)
    model = FACTORIES[kind](classes).eval()
    assert model(torch.zeros(2, 1, corpus.length)).shape == (2, classes)


def test_digits_are_split_by_take(tmp_path: Path) -> None:
    samples, ends, speakers, takes = [], [0], [], []
    for take in range(50):
        for speaker in range(6):
            samples.append(np.full(300 + take, 100 * take + speaker + 1, np.int16))
            ends.append(ends[-1] + len(samples[-1]))
            speakers.append(speaker)
            takes.append(take)
    np.savez(
        tmp_path / "spoken-digits.npz",
        samples=np.concatenate(samples),
        offsets=np.array(ends),
        speaker=np.array(speakers),
        take=np.array(takes),
    )
    splits = load_voices(Corpus.DIGITS, tmp_path)
    found = {}
    for name, part in vars(splits).items():
        assert part.samples.shape[1:] == (1, 4000) and part.samples.dtype == np.float32
        values = np.rint(part.samples[:, 0].max(1) * 32768).astype(int) - 1
        np.testing.assert_array_equal(values % 100, part.labels)
        found[name] = {int(value) // 100 for value in values}
    assert found["test"] == set(range(10)) and found["calibration"] == set(range(10, 20))
    assert found["profile"] == set(range(20, 25)) and found["training"] == set(range(25, 50))


def test_prompts_are_split_by_name_and_nothing_but_speech_is_taken(tmp_path: Path) -> None:
    spoken = np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    prompts = [*(f"digits/{number}" for number in range(60)), "silence/1", "beep", "tt-monkeys", "tones/a"]
    for speaker in ("en_US_f_Allison", "es_MX_f_Allison", "it_IT_m_Carlo", "nobody"):
        for prompt in prompts:
            path = tmp_path / "usr/share/asterisk/sounds" / speaker / f"{prompt}.gsm"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, spoken, RATE, format="RAW", subtype="GSM610")
    splits = load_voices(Corpus.PROMPTS, tmp_path)
    parts = list(vars(splits).values())
    assert sum(len(part.labels) for part in parts) == 3 * 60
    names = Corpus.PROMPTS.names
    for part in parts:
        counts = np.bincount(part.labels, minlength=len(names))
        assert counts[names.index("Allison")] == 2 * counts[names.index("Carlo")] > 0


def test_absent_corpora_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"spoken-digits\.npz is absent"):
        load_voices(Corpus.DIGITS, tmp_path)
    with pytest.raises(FileNotFoundError, match="unpack the Debian packages"):
        load_voices(Corpus.PROMPTS, tmp_path)


def test_the_middle_of_a_long_recording_and_all_of_a_short_one() -> None:
    long, short = np.arange(10, dtype=np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(middle(long, 4), [3, 4, 5, 6])
    np.testing.assert_array_equal(middle(short, 5), [1, 1, 1, 0, 0])


def test_augmentation_stays_within_full_scale() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = varied(torch.rand(20, 1, 800) * 2 - 1)
    assert found.shape == (20, 1, 800) and float(found.abs().max()) <= 1


def test_the_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0
