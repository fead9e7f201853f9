"""Arrays of the wrong kind are refused in the words of the runtime, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_export import export_defended
from nip_export.data import read_dataset
from nip_runtime.errors import InputError, NipError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 8, 3), np.uint8)
FLOATS: NDArray[np.float32] = PIXELS.astype(np.float32) / np.float32(255)
LABELS = [0, 1] * 6


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


class Turned(nn.Module):
    """Takes (N, H, W, C) and turns the axes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.permute(0, 3, 1, 2))
        return out


def spoilt() -> NDArray[np.float32]:
    images: NDArray[np.float32] = FLOATS.transpose(0, 3, 1, 2).copy()
    images[7, 1, 2, 3] = np.inf
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            FLOATS,
            r"got float32 \(8, 10, 8, 3\); float images are channels-first: images.transpose\(0, 3, 1, 2\)",
        ),
        (
            PIXELS.transpose(0, 3, 1, 2).copy(),
            "uint8 images are channels-last: images.transpose",
        ),
        (FLOATS.transpose(0, 3, 1, 2).astype(float), r"convert with images.astype\(numpy.float32\)"),
        (spoilt(), "got NaN or Inf in row 7; drop or repair such rows first"),
        (
            np.array([*PIXELS[:11], PIXELS[0, :5]], dtype=object),
            "bring them to one size, then numpy.stack them",
        ),
    ],
    ids=["floats channels last", "pixels channels first", "doubles", "infinite", "objects"],
)
def test_words_of_the_runtime(tmp_path: Path, images: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_defended(network(), images, LABELS, tmp_path / "m.onnx")


def test_a_model_may_turn_the_axes_itself(tmp_path: Path) -> None:
    with pytest.raises(NipError, match="expected at least 50 benign images"):
        export_defended(Turned(), FLOATS, LABELS, tmp_path / "m.onnx")


def test_objects_in_an_archive_are_named(tmp_path: Path) -> None:
    ragged = np.array([*PIXELS[:11], PIXELS[0, :5]], dtype=object)
    np.savez(tmp_path / "a.npz", images=ragged, labels=LABELS)
    with pytest.raises(InputError, match="got pickled Python objects; if the items differ in shape"):
        read_dataset(tmp_path / "a.npz")
