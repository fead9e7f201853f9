"""CIFAR-10 as JPEG, split four ways: the third-party networks were trained on the training images.

So profile and calibration come from the test images 0 to 3,999, alternately; 4,000 to 4,999 are attacked, and
the 1,000 after them only tell the benign cost.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.robustness.splits import Splits
from nip_export.demo.build_assets import Labelled

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BENIGN, ATTACKED, LAST = 4000, 5000, 6000


def read_jpeg(path: Path, count: int | None = None) -> Labelled:
    """The first `count` images of a file of JPEG streams, uint8 (N, H, W, 3), RGB.

    Args:
        path: .npz with `jpeg` (all streams end to end), `offsets` (N + 1,) and `labels` (N,).
        count: how many; None: all.

    Raises:
        FileNotFoundError: saying which file is needed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"CIFAR-10 file {path} is absent; name the folder that holds it with --cifar")
    with np.load(path) as content:
        streams, offsets = content["jpeg"], content["offsets"]
        labels: NDArray[np.int64] = content["labels"][:count].astype(np.int64)
    images = [decode(streams[offsets[i] : offsets[i + 1]], path, i) for i in range(len(labels))]
    return Labelled(np.stack(images), labels)


def decode(stream: NDArray[np.uint8], path: Path, number: int) -> NDArray[np.uint8]:
    """One JPEG stream as uint8 (H, W, 3), RGB; ValueError names the image that cannot be read."""
    image = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"image {number} of {path} is no JPEG stream; get the original file")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8)


def load_cifar_splits(folder: Path, *, training: bool = False) -> Splits:
    """Read and split both files; without `training` the 50,000 training images are left out."""
    test = read_jpeg(folder / "cifar10-test.npz", LAST)
    whole = read_jpeg(folder / "cifar10-train.npz") if training else test.take(np.arange(0))
    return Splits(
        training=whole,
        profile=test.take(np.arange(0, BENIGN, 2)),
        calibration=test.take(np.arange(1, BENIGN, 2)),
        test=test.take(np.arange(BENIGN, ATTACKED)),
        further=test.take(np.arange(ATTACKED, LAST)),
    )
