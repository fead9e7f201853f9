"""Frames from a video file, a folder of images or a camera, and what a model takes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.images import IMAGE_SUFFIXES, find_files, fit_image, read_image
from nip_runtime.operate.video.pace import Meter
from nip_runtime.support.dependencies import load

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8, in OpenCV's order: blue, green, red."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, and when it began to be read (``time.perf_counter``)."""

    picture: Picture
    taken_s: float


class Source:
    """Where frames come from.

    Args:
        name: a camera's index, a video file, or a folder of images, read in sorted order.

    Attributes:
        is_live: whether frames come when they come.
        rate_hz: frames per second, as the file or camera says; 25 where it does not.

    Raises:
        InputError: if there is no such thing, or OpenCV can't open it.
        DependencyError: if OpenCV is missing.
    """

    def __init__(self, name: str) -> None:
        self.is_live = name.isdecimal()
        self.rate_hz = 25.0
        self._paths: list[Path] = []
        self._capture: Any = None
        if not self.is_live and Path(name).is_dir():
            self._paths = [path for path in find_files([name]) if path.suffix.lower() in IMAGE_SUFFIXES]
            return
        if not self.is_live and not Path(name).exists():
            raise InputError.mismatch(
                expected="a video file, a folder of images or a camera's index",
                got=repr(name),
                fix="check the path",
            )
        cv2: Any = load("cv2")
        self._capture = cv2.VideoCapture(int(name) if self.is_live else name)
        if not self._capture.isOpened():
            raise InputError.mismatch(
                expected=f"{'camera' if self.is_live else 'a video at'} {name}",
                got="nothing that OpenCV can open",
                fix="check which cameras are connected" if self.is_live else "convert it with ffmpeg",
            )
        self.rate_hz = self._capture.get(cv2.CAP_PROP_FPS) or self.rate_hz

    def frames(self, meter: Meter) -> Iterator[Frame]:
        """Every frame in turn, reading timed; lets go of the file or camera at the end."""
        pictures = self._captured() if self._capture is not None else self._read()
        try:
            while True:
                start_s = time.perf_counter()
                with meter.timing(frames=0):
                    picture = next(pictures, None)
                if picture is None:
                    return
                meter.frames += 1
                yield Frame(picture, start_s)
        finally:
            if self._capture is not None:
                self._capture.release()

    def _captured(self) -> Iterator[Picture]:
        while True:
            is_there, picture = self._capture.read()
            if not is_there:
                return
            yield picture

    def _read(self) -> Iterator[Picture]:
        for path in self._paths:
            yield np.ascontiguousarray(read_image(path, channels=3)[:, :, ::-1])


def to_input(frame: Frame, spec: InputSpec) -> NDArray[np.uint8]:
    """What the model takes of a frame: uint8 (H, W, C) at its size, resized as the manifest pins it.

    Raises:
        InputError: if the sizes differ and the manifest pins no resize.
    """
    cv2: Any = load("cv2")
    channels = spec.shape[0]
    code = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    image = np.asarray(cv2.cvtColor(frame.picture, code), np.uint8)
    return fit_image(image.reshape(*image.shape[:2], channels), spec)


def check_takes_pictures(spec: InputSpec) -> None:
    """Refuse a model that can't look at frames.

    Raises:
        InputError: unless it takes images of 1 or 3 channels.
    """
    if spec.layout is not Layout.NCHW or spec.shape[0] not in (1, 3):
        raise InputError.mismatch(
            expected="a model of grey or colour images", got=f"one of inputs {spec.shape}", fix="name another"
        )
