"""Brings a recording to another rate: polyphase filtering by a Kaiser-windowed sinc.

Resamplers of different libraries differ by more than an attack does, so this one is pinned by its definition
and computed in float64: output n is Σₖ x[k] · h[n·down − k·up], where h has 2·10·max(up, down) + 1 taps, cuts
off at the lower of the two rates and sums to `up`. Outside the recording x is 0. scipy's ``resample_poly``
does the same.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CROSSINGS: Final = 10
_BETA: Final = 5.0
_BLOCK: Final = 1 << 14
"""Output samples computed at a time: their neighbourhoods are held in memory."""


def length_at(samples: int, source: int, rate: int) -> int:
    """How many samples a recording of so many at rate `source` has at `rate`."""
    return -(-samples * rate // source)


def span(start: int, stop: int, source: int, rate: int) -> tuple[int, int]:
    """Which samples at rate `source`, from and up to, outputs `start` to `stop` at `rate` are made of.

    They may lie outside the recording, where there is silence.
    """
    up, down = _factors(source, rate)
    half = _CROSSINGS * max(up, down) if up != down else 0
    return -(-(start * down - half) // up), ((stop - 1) * down + half) // up + 1


def resampled(
    samples: NDArray[np.float64], first: int, start: int, stop: int, source: int, rate: int
) -> NDArray[np.float64]:
    """Outputs `start` to `stop` at `rate`.

    Args:
        samples: all that :func:`span` asks for, silence included; float64 (n,).
        first: index in the recording of the first of them.
        start: first output.
        stop: one past the last output.
        source: samples per second of the recording.
        rate: samples per second wanted.
    """
    up, down = _factors(source, rate)
    if up == down:
        return samples[start - first : stop - first]
    taps, half = _filter(up, down), _CROSSINGS * max(up, down)
    width = 2 * half // up + 1
    found = np.empty(stop - start)
    for begin in range(start, stop, _BLOCK):
        outputs = np.arange(begin, min(begin + _BLOCK, stop))
        lowest = -(-(outputs * down - half) // up)
        places = lowest[:, None] + np.arange(width)
        distances = outputs[:, None] * down - places * up + half
        inside = distances >= 0  # the last one of a row may lie beyond the filter
        weights = np.where(inside, taps[np.where(inside, distances, 0)], 0)
        sources = np.where(inside, places - first, 0)
        found[begin - start : begin - start + len(outputs)] = (weights * samples[sources]).sum(1)
    return found


def _factors(source: int, rate: int) -> tuple[int, int]:
    """By what rates are multiplied and divided."""
    common = gcd(source, rate)
    return rate // common, source // common


@lru_cache(maxsize=8)
def _filter(up: int, down: int) -> NDArray[np.float64]:
    half = _CROSSINGS * max(up, down)
    places = np.arange(-half, half + 1)
    taps: NDArray[np.float64] = np.sinc(places / max(up, down)) * np.kaiser(2 * half + 1, _BETA)
    scaled: NDArray[np.float64] = taps * (up / taps.sum())
    return scaled
