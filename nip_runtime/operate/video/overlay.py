"""Draws an answer onto its frame, and writes frames to a video file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.operate.video.frames import Picture
from nip_runtime.result import Reason
from nip_runtime.stream import Answer
from nip_runtime.support.dependencies import load

_LEAST_HEIGHT: Final = 240
_CALM: Final = (70, 120, 40)
_ALARM: Final = (40, 40, 200)
_WHITE: Final = (255, 255, 255)
_CODECS: Final = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}


def annotate(picture: Picture, answer: Answer[Any], class_names: tuple[str, ...] | None) -> Picture:
    """A copy of the frame, small ones enlarged, with the answer in a band below it.

    The band's colour and a frame around the picture tell a flagged one; the bar in the band is the suspicion.
    """
    cv2: Any = load("cv2")
    scale = max(1, -(-_LEAST_HEIGHT // picture.shape[0]))
    drawn = np.ascontiguousarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
    height, width = drawn.shape[:2]
    band = max(36, height // 10)
    colour = _ALARM if answer.flagged else _CALM
    canvas = np.full((height + band, width, 3), colour, np.uint8)
    canvas[:height] = drawn
    if answer.flagged:
        cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), _ALARM, max(2, height // 100))
    _write(canvas, _caption(answer, class_names), top=height, band=band)
    bar = max(3, band // 10)
    canvas[-bar:, : round(width * answer.suspicion)] = _WHITE
    return canvas


def _caption(answer: Answer[Any], class_names: tuple[str, ...] | None) -> str:
    label, raw = (
        str(number) if class_names is None else class_names[number]
        for number in (answer.label, answer.raw_label)
    )
    reason = f"corrected from {raw}" if answer.reason is Reason.CORRECTED else str(answer.reason)
    return f"{label} ({reason}), suspicion {answer.suspicion:.3f}"


def _write(canvas: Picture, text: str, *, top: int, band: int) -> None:
    """Write one line into the band, as large as fits."""
    cv2: Any = load("cv2")
    font, margin = cv2.FONT_HERSHEY_SIMPLEX, band // 6
    (width, height), _ = cv2.getTextSize(text, font, 1.0, 1)
    size = min((canvas.shape[1] - 2 * margin) / width, 0.45 * band / height)
    baseline = top + round((band + size * height) / 2) - margin // 2
    thickness = 1 if size < 0.8 else 2
    cv2.putText(canvas, text, (margin, baseline), font, size, _WHITE, thickness, cv2.LINE_AA)


class VideoFile:
    """Writes frames to a video file, which appears once it is whole.

    Args:
        path: ends in .mp4, .avi or .mkv.
        rate_hz: frames per second.

    Raises:
        InputError: for another ending, and while writing, if OpenCV can't write such a file there.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        if path.suffix.lower() not in _CODECS:
            raise InputError.mismatch(
                expected=f"a file ending in {', '.join(_CODECS)}",
                got=path.name,
                fix="choose one of these endings",
            )
        self._path, self._rate_hz = path, rate_hz
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)

    def add(self, picture: Picture) -> None:
        """Append a frame; the first decides the size, and others are brought to it."""
        cv2: Any = load("cv2")
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._part), codec, self._rate_hz, self._size)
            if not self._writer.isOpened():
                raise InputError.mismatch(
                    expected=f"a place to write {self._path}",
                    got="none that OpenCV can write to",
                    fix="check that the folder exists and is writable, or try .avi",
                )
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        self._writer.write(picture)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if error is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
