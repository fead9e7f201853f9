"""Voices: two corpora of real recordings at 8 kHz, cut to one length and split four ways.

*Digits*: the Free Spoken Digit Dataset, 6 people who say 0 to 9, 50 takes each, half a second. A person's
takes share a microphone, which tells who it is as well as the voice does. Split by takes.

*Prompts*: the telephone prompts of eight Debian packages, 7 speakers (the English and Spanish ones of the
core sounds are one voice), a second out of the middle. Split by the prompt's name, for languages share names.
Channel, studio and language leak some of the label: accuracy here is no proof that voices are told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.support.dependencies import load

RATE = 8000
PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SPEAKERS = {
    "en_US_f_Allison": "Allison",
    "es_MX_f_Allison": "Allison",
    "es": "es-co",
    "fr": "Armelle",
    "fr_CA_f_June": "June",
    "it_IT_f_Menardi": "Menardi",
    "it_IT_m_Carlo": "Carlo",
    "ru_RU_f_IvrvoiceRU": "IvrvoiceRU",
}
"""Folders of prompts, and who speaks there."""
NO_SPEECH = ("silence", "beep", "tone", "monkeys")
LEAST_SAMPLES = RATE // 10


class Corpus(StrEnum):
    """Which voices."""

    DIGITS = "digits"
    PROMPTS = "prompts"

    @property
    def length(self) -> int:
        """Samples that a network hears."""
        return 4000 if self is Corpus.DIGITS else 8000

    @property
    def names(self) -> tuple[str, ...]:
        """Who speaks, in the order of the logits."""
        return PEOPLE if self is Corpus.DIGITS else tuple(sorted(set(SPEAKERS.values())))


@dataclass(frozen=True)
class Recordings:
    """`samples` (N, 1, length) float32 in [−1, 1] and who speaks, `labels` (N,) int64."""

    samples: NDArray[np.float32]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> Recordings:
        """Those recordings."""
        return Recordings(self.samples[rows], self.labels[rows])


@dataclass(frozen=True)
class Splits:
    """Disjoint recordings; the first of `test` are attacked, all of them tell the benign cost."""

    training: Recordings
    profile: Recordings
    calibration: Recordings
    test: Recordings


def middle(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """`length` samples out of the middle, or all with silence behind them."""
    start = max(0, (len(samples) - length) // 2)
    kept = samples[start : start + length]
    return np.pad(kept, (0, length - len(kept)))


def load_voices(corpus: Corpus, folder: Path) -> Splits:
    """The recordings of a corpus.

    Args:
        corpus: which.
        folder: holds spoken-digits.npz, or the unpacked Debian packages.

    Raises:
        FileNotFoundError: neither is there; says how to get them.
    """
    read: Callable[[Path], tuple[list[NDArray[np.float32]], list[int], NDArray[np.int64]]]
    read = _digits if corpus is Corpus.DIGITS else _prompts
    samples, labels, tenth = read(folder)
    cut = np.stack([middle(each, corpus.length) for each in samples])[:, None]
    whole = Recordings(cut.astype(np.float32), np.array(labels, np.int64))
    order = np.random.default_rng(0).permutation(len(labels))
    edges = {"test": (0, 2), "calibration": (2, 4), "profile": (4, 5), "training": (5, 10)}
    if corpus is Corpus.PROMPTS:  # more of the few names for what is measured
        edges = {"test": (0, 2), "calibration": (2, 4), "profile": (4, 6), "training": (6, 10)}
    parts = {
        name: whole.take(order[((low <= tenth) & (tenth < high))[order]])
        for name, (low, high) in edges.items()
    }
    return Splits(**parts)


def _digits(folder: Path) -> tuple[list[NDArray[np.float32]], list[int], NDArray[np.int64]]:
    """Takes decide the split: ten groups of five."""
    path = folder / "spoken-digits.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is absent; name the folder that holds it with --digits")
    with np.load(path) as content:
        stored = {name: content[name] for name in ("samples", "offsets", "speaker", "take")}
    every, ends = stored["samples"].astype(np.float32) / np.float32(32768), stored["offsets"]
    samples = [every[start:end] for start, end in pairwise(ends)]
    return samples, [int(label) for label in stored["speaker"]], (stored["take"] // 5).astype(np.int64)


def _prompts(folder: Path) -> tuple[list[NDArray[np.float32]], list[int], NDArray[np.int64]]:
    """Prompt names decide the split, by their digest."""
    soundfile: Any = load("soundfile")
    names, samples, labels, tenths = Corpus.PROMPTS.names, [], [], []
    for path in sorted(folder.rglob("*.gsm")):
        speaker, _, prompt = str(path).rpartition("/sounds/")[2].partition("/")
        if any(word in prompt for word in NO_SPEECH) or speaker not in SPEAKERS:
            continue
        sound, _ = soundfile.read(
            path, samplerate=RATE, channels=1, format="RAW", subtype="GSM610", dtype="float32"
        )
        if len(sound) < LEAST_SAMPLES:
            continue
        samples.append(sound)
        labels.append(names.index(SPEAKERS[speaker]))
        tenths.append(int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 10)
    if not samples:
        raise FileNotFoundError(
            f"no prompts under {folder}; unpack the Debian packages that README.md names there"
        )
    return samples, labels, np.array(tenths, np.int64)
