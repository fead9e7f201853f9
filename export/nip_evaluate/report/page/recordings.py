"""A recording as a picture: its waveform, and its spectrogram below."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nip_evaluate.terms.threats import Images

_WINDOW: Final = 128
_RANGE_DB: Final = 80
"""From the loudest to what is drawn as silence."""


def recording_uri(recording: Images, *, limit: float) -> str:
    """A PNG data URI of one recording (1, T), drawn from −`limit` to +`limit`."""
    samples = recording[0].astype(np.float64)
    figure = Figure(figsize=(1.6, 1.2), dpi=100)
    FigureCanvasAgg(figure)
    wave, spectrum = figure.subplots(2, 1, gridspec_kw={"height_ratios": (1, 1), "hspace": 0.04})
    figure.subplots_adjust(0, 0, 1, 1)
    wave.plot(samples, linewidth=0.5, color="#0072b2")
    wave.set_ylim(-limit, limit)
    wave.set_xlim(0, max(1, len(samples) - 1))
    levels = spectrogram_db(samples / limit)
    spectrum.imshow(levels, origin="lower", aspect="auto", cmap="magma", vmin=-_RANGE_DB, vmax=0)
    for axes in (wave, spectrum):
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def spectrogram_db(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels (frequencies, frames) of samples (T,): 0 dB is a sine of amplitude 1."""
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:: _WINDOW // 2]
    window = np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1)) / (window.sum() / 2))
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power.T, 10 ** (-_RANGE_DB / 10)))
    return levels
