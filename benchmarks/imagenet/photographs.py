"""The photographs: 500 to export with, 200 held back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nip_export.data import ImageSet

EXPORTED = 500
"""The first so many photographs go to the export, the others are attacked."""
PROFILE = 150
"""Of those, the first go to read-outs, profiles and perturbations; the others to the thresholds, which need
more of them the less may be flagged."""
FILE = "imagenet-700.npz"


def data_folder(text: str) -> Path:
    """The folder of the photographs, as it is typed on a command line."""
    path = Path(text)
    if not (path / FILE).is_file():
        raise argparse.ArgumentTypeError(f"expected a folder that holds {FILE}, got {text!r}")
    return path


def parser_of(description: str | None, *, work: str) -> argparse.ArgumentParser:
    """A command line with --data and --work; `work` says what that folder is for."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=data_folder, required=True, help="folder of the photographs")
    parser.add_argument("--work", type=Path, required=True, help=work)
    return parser


@dataclass(frozen=True)
class Photographs:
    """One photograph each of 700 ImageNet classes, none of them twice."""

    profile: ImageSet
    calibration: ImageSet
    test: ImageSet


def load_photographs(folder: Path, size: int) -> Photographs:
    """The central size × size pixels of every photograph.

    Args:
        folder: holds ``imagenet-700.npz``: ``jpeg`` (all streams, end to end, uint8), ``offsets`` (701,),
            ``labels`` (700,), ``classes`` (1000,) names.
        size: rows and columns, at most 256.

    Raises:
        FileNotFoundError: the photographs are not there.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is absent; name the folder of the photographs with --data")
    with np.load(path) as found:
        stream, offsets = found["jpeg"], found["offsets"]
        labels = found["labels"].astype(np.int64)
        names = tuple(map(str, found["classes"]))
    images = np.stack([_centre(stream[start:end], size) for start, end in pairwise(offsets)])

    def part(rows: slice) -> ImageSet:
        return ImageSet(images[rows], labels[rows], names)

    return Photographs(part(slice(0, PROFILE)), part(slice(PROFILE, EXPORTED)), part(slice(EXPORTED, None)))


def _centre(jpeg: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert image is not None
    top, left = ((length - size) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size, ::-1], dtype=np.uint8)
