"""Labelled images named on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nip_export.data import ImageSet


def read_images(
    path: Path,
    size: tuple[int, int] | None,
    names: tuple[str, ...] | None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ImageSet:
    """Read a folder or .npz, numbered in the order of `names` where the images bring class names.

    Raises:
        InputError: nothing usable there, or other classes.
    """
    from nip_export.data import read_dataset

    data = read_dataset(path, size=size, bounds=bounds)
    return data.renumbered(names) if names is not None and data.class_names is not None else data
