"""Images brought to the size that the network takes, one by one as they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import PreprocessSpec, Resize
from nip_runtime.inputs.images import crop_image, resize_image

Fit: TypeAlias = "Callable[[NDArray[np.uint8]], NDArray[np.uint8]]"
"""Gives a uint8 (H, W, C) image at the network's size."""


def fit_for(size: tuple[int, int] | None, resize: Resize, preprocess: PreprocessSpec | None) -> Fit | None:
    """How images are brought to the network's size; None: they are not.

    Args:
        size: (height, width) that images are stretched to.
        resize: how.
        preprocess: resize and crop instead.
    """
    if preprocess is not None:
        return partial(crop_image, preprocess=preprocess)
    return None if size is None else partial(resize_image, height=size[0], width=size[1], resize=resize)


def fitted(image: NDArray[Any], fit: Fit | None) -> NDArray[Any]:
    """An image (H, W) or (H, W, C) at the network's size; what is not uint8 stays as it is."""
    if fit is None or image.dtype != np.uint8 or image.ndim not in (2, 3):
        return image
    new = fit(image if image.ndim == 3 else image[..., None])
    return new.reshape(*new.shape[:2], *image.shape[2:])
