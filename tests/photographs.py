"""Something drawn that has what photographs have, and what storing it as JPEG makes of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def photograph(height: int = 64, width: int = 80) -> NDArray[np.uint8]:
    """Something with edges, shades and colours, uint8 (height, width, 3), red first."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([3 * rows, 255 - 2 * columns, 128 + 60 * np.sin(rows / 5) * np.cos(columns / 7)], -1)
    image[height // 4 : height // 2, width // 3 : width // 2] = (250, 30, 60)
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    return cv2.GaussianBlur((image + noise).clip(0, 255).astype(np.uint8), (3, 3), 0).astype(np.uint8)


def encoded(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What OpenCV's JPEG encoder and decoder make of an image, red first."""
    done, stream = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    assert done and decoded is not None
    return np.ascontiguousarray(decoded[:, :, ::-1]).astype(np.uint8)


def as_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As a file takes it: float32 (1, 3, height, width) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)
