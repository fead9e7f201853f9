"""Pages and lines of text, drawn and turned: as many labelled inputs as are asked for."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

TURNS = (0, 90, 180, 270)
"""Degrees clockwise, in the order of the classes of both networks."""
LETTERS, WEIGHTS = (
    "etaoinshrdlucmfwygpbvk",
    (12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1),
)
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
DRAWN = 3
"""How many times larger a page is drawn than it is used."""


def words(rng: np.random.Generator) -> str:
    """A line's worth of words with the letters of English, some of them capitalised or numbers."""
    chances = np.array(WEIGHTS) / sum(WEIGHTS)
    found = []
    for _ in range(14):
        word = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 10)), p=chances))
        kind = rng.random()
        found.append(str(rng.integers(1, 3000)) if kind < 0.05 else word.capitalize() if kind < 0.2 else word)
        if rng.random() < 0.15:
            found[-1] += str(rng.choice([",", ".", ";"]))
    return " ".join(found)


def page(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One upright page, (size, size, 3) uint8 RGB: a heading, then paragraphs in one or two columns.

    The page keeps the form of paper; what is left beside it is white.
    """
    height = DRAWN * size
    width = int(height * rng.uniform(0.66, 0.8))
    paper = int(rng.integers(225, 256))
    ink = int(rng.integers(0, 80))
    drawn = np.full((height, width), paper, np.uint8)
    margin = int(width * rng.uniform(0.06, 0.12))
    columns = int(rng.integers(1, 3))
    gap = margin // 2
    column = (width - 2 * margin - (columns - 1) * gap) // columns
    font = int(rng.choice(FONTS))
    scale = rng.uniform(0.55, 0.95)
    step = int(30 * scale * rng.uniform(1.1, 1.5))
    top = margin + step
    if rng.random() < 0.8:
        cv2.putText(drawn, words(rng)[:18].title(), (margin, top), font, 1.8 * scale, ink, 3, cv2.LINE_AA)
        top += 2 * step
    for index in range(columns):
        left, y = margin + index * (column + gap), top
        while y < height - margin:
            lines = int(rng.integers(2, 9))
            for line in range(lines):
                if y >= height - margin:
                    break
                width_of = column if line < lines - 1 else int(column * rng.uniform(0.2, 0.9))
                strip = np.full((step + 12, width_of), paper, np.uint8)
                cv2.putText(strip, words(rng), (2, step), font, scale, ink, 1, cv2.LINE_AA)
                room = drawn[y - step : y + 12, left : left + width_of]
                room[:] = np.minimum(room, strip[: room.shape[0], : room.shape[1]])
                y += step
            y += step // 2
    whole = np.full((height, height), 255, np.uint8)
    left = (height - width) // 2
    whole[:, left : left + width] = drawn
    small = cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
    noisy = small.astype(np.float32) + rng.normal(0, rng.uniform(0, 4), small.shape)
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def turned(count: int, size: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pages with the classes of their turns.

    Args:
        count: how many.
        size: height and width.
        seed: of what is drawn.

    Returns:
        (count, size, size, 3) uint8 RGB and (count,) int64: 0, 1, 2, 3 for 0, 90, 180, 270 degrees clockwise.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(TURNS)
    images = [np.rot90(page(rng, size), -int(label)) for label in labels]
    return np.ascontiguousarray(np.stack(images)), labels


def line(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """One upright line of text, (height, width, 3) uint8 RGB, that fills its picture."""
    drawn = np.full((DRAWN * height, DRAWN * width), int(rng.integers(200, 256)), np.uint8)
    ink, font = int(rng.integers(0, 80)), int(rng.choice(FONTS))
    scale = rng.uniform(2.6, 3.6)
    place = (int(rng.integers(2, 20)), int(DRAWN * height * rng.uniform(0.68, 0.78)))
    cv2.putText(drawn, words(rng), place, font, scale, ink, int(rng.integers(2, 7)), cv2.LINE_AA)
    small = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    noisy = small.astype(np.float32) + rng.normal(0, rng.uniform(0, 6), small.shape)
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def lines(count: int, height: int, width: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Lines of text, every other one upside down: (count, height, width, 3) uint8 RGB, (count,) int64."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    images = [np.rot90(line(rng, height, width), 2 * int(label)) for label in labels]
    return np.ascontiguousarray(np.stack(images)), labels
