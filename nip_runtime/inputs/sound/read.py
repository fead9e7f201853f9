"""Sound files to inputs of a model, through libsndfile."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, SoundCut, SoundSpec
from nip_runtime.inputs.sound.resample import length_at, resampled, span
from nip_runtime.support.dependencies import load

SOUND_SUFFIXES: Final = frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"}
)
"""What a folder is searched for; a file that is named outright is read whatever its suffix."""
MOST_CHANNELS: Final = 64
MOST_SOURCE_RATE: Final = 2**20
"""Samples per second of a file that is read: a filter is as long as rates are far apart."""
_UNKNOWN_SIZE: Final = 0x7FFF0000
"""Programs that write WAV into a pipe don't know its size, and state one about as large as can be."""
_MOST_CHUNKS: Final = 1000
"""Parts of a WAV file that are looked through for its sound."""
_MOST_PEAK: Final = 2.0
"""Lossy files overshoot full scale a little, and are clipped; what exceeds this is on another scale."""


def read_sound(file: BinaryIO, spec: InputSpec, *, origin: str) -> NDArray[np.float32]:
    """Read a recording as input of a model: float32 (1, 1, samples) within the bounds.

    Channels are averaged, the piece that ``spec.sound`` names is brought to its rate, silence is put behind a
    short one, full scale becomes the upper bound, and what lies beyond it is clipped. Only that piece of a
    long recording is decoded.

    Args:
        file: open, at its start.
        spec: of a model that takes recordings.
        origin: names the file in errors.

    Raises:
        InputError: libsndfile can't decode the file, it ends before it says, it is shorter than
            ``spec.sound.shortest``, holds NaN or Inf, or is not on the scale of −1 to 1.
        DependencyError: soundfile is missing.
    """
    assert spec.sound is not None
    soundfile: Any = load("soundfile")
    _refuse_cut_off(file, origin)
    try:
        with soundfile.SoundFile(file) as opened:
            piece = _piece(opened, spec.sound, spec.shape[-1], origin)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise _mismatch(
            f"a recording at {origin}",
            "something libsndfile can't decode",
            "store it as WAV or FLAC, or leave it out",
        ) from error
    full = spec.bounds[1]
    clipped = np.clip(piece * full, -full, full).astype(np.float32)
    return np.pad(clipped, (0, spec.shape[-1] - len(clipped)))[None, None]


def _refuse_cut_off(file: BinaryIO, origin: str) -> None:
    """Refuse a WAV file with less sound than it says, which libsndfile takes for a shorter one."""
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        for _ in range(_MOST_CHUNKS):
            chunk = file.read(8)
            size, begin = int.from_bytes(chunk[4:], "little"), file.tell()
            if chunk[:4] == b"data":
                there = file.seek(0, os.SEEK_END) - begin
                if there < size < _UNKNOWN_SIZE:
                    raise _mismatch(
                        f"{size} bytes of sound at {origin}, as it says", f"{there}", "copy it again"
                    )
                break
            file.seek(begin + size + size % 2)
    file.seek(0)


def _piece(opened: Any, sound: SoundSpec, length: int, origin: str) -> NDArray[np.float64]:
    """The piece of an open file that a model hears, at the model's rate: (n,), at most `length`."""
    frames, rate, channels = int(opened.frames), int(opened.samplerate), int(opened.channels)
    if channels > MOST_CHANNELS or not 1 <= rate <= MOST_SOURCE_RATE:
        raise _mismatch(
            f"a recording of at most {MOST_CHANNELS} channels and {MOST_SOURCE_RATE} Hz at {origin}",
            f"{channels} channels, {rate} Hz",
            "convert it",
        )
    whole = length_at(frames, rate, sound.rate)
    if whole < sound.shortest:
        raise _mismatch(
            f"a recording of at least {sound.shortest / sound.rate:.3g} s at {origin}",
            f"{frames / rate:.3g} s",
            "record more, or leave it out",
        )
    start = max(0, (whole - length) // 2) if sound.cut is SoundCut.MIDDLE else 0
    stop = min(start + length, whole)
    first, last = span(start, stop, rate, sound.rate)
    begin, end = max(first, 0), min(last, frames)
    opened.seek(begin)
    decoded = opened.read(end - begin, dtype="float64", always_2d=True)
    if len(decoded) != end - begin:
        raise _mismatch(
            f"a recording of {frames} samples at {origin}, as it says",
            "one that was cut off",
            "copy it again",
        )
    peak = float(np.abs(decoded).max(initial=0))
    if not peak <= _MOST_PEAK:  # also true of NaN
        raise _mismatch(
            f"samples from −1 to 1 at {origin}",
            f"a peak of {peak:.6g}",
            "scale it, or store it as integers",
        )
    mono = np.pad(decoded.mean(axis=1), (begin - first, last - end))
    return resampled(mono, first, start, stop, rate, sound.rate)


def _mismatch(expected: str, got: str, fix: str) -> InputError:
    return InputError.mismatch(expected=expected, got=got, fix=fix)
