"""Images brought to a model's size as its manifest says."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Interpolation, Layout, PreprocessSpec, Resize
from nip_runtime.inputs.images.decode import MOST_PIXELS
from nip_runtime.inputs.images.resample import resample
from nip_runtime.support.dependencies import load

_MOST_CHANNELS: Final = 4


def resize_image(
    image: NDArray[np.uint8],
    *,
    height: int,
    width: int,
    resize: Resize | None,
    preprocess: PreprocessSpec | None = None,
) -> NDArray[np.uint8]:
    """Bring a uint8 (H, W, C) image to ``height`` x ``width``: by ``preprocess`` or else stretched.

    Interpolations of different libraries differ by more than an attack does, so this follows the manifest and
    nothing else.

    Raises:
        InputError: if the size differs and neither says how, or the image is too long for its breadth.
        DependencyError: if the size differs and OpenCV is missing.
    """
    if image.shape[:2] == (height, width):
        return image
    if preprocess is not None:
        return crop_image(image, preprocess)
    if resize is None:
        raise InputError.mismatch(
            expected=f"an image of {height}x{width} pixels (height x width)",
            got="{}x{}".format(*image.shape[:2]),
            fix="resize it as the model's training data was; this file pins no resize",
        )
    cv2: Any = load("cv2")
    interpolation = {Resize.AREA: cv2.INTER_AREA, Resize.LINEAR: cv2.INTER_LINEAR}[resize]
    resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized.reshape(height, width, image.shape[2])  # OpenCV drops a single channel


def crop_image(image: NDArray[np.uint8], preprocess: PreprocessSpec) -> NDArray[np.uint8]:
    """The middle of a uint8 (H, W, C) image whose shorter side was resized.

    Sizes and places are rounded as torchvision's ``Resize`` and ``CenterCrop`` round them.

    Raises:
        InputError: if the resized image would have more than `MOST_PIXELS` pixels.
        DependencyError: if OpenCV is needed and missing.
    """
    if image.shape[:2] == preprocess.crop:
        return image
    height, width = image.shape[:2]
    shorter = min(height, width)
    new = preprocess.resize * height // shorter, preprocess.resize * width // shorter
    if new[0] * new[1] > MOST_PIXELS:
        raise InputError.mismatch(
            expected=f"an image that has at most {MOST_PIXELS} pixels once its shorter side has "
            f"{preprocess.resize}",
            got=f"{height}x{width}",
            fix="cut it first",
        )
    rows, columns = (
        slice(first := round((whole - part) / 2), first + part)
        for whole, part in zip(new, preprocess.crop, strict=True)
    )
    if preprocess.interpolation is not Interpolation.AREA:
        return resample(image, new, preprocess.interpolation, rows=rows, columns=columns)
    cv2: Any = load("cv2")
    resized: NDArray[np.uint8] = cv2.resize(image, new[::-1], interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized.reshape(*new, image.shape[2])[rows, columns])


def fit_image(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """As :func:`resize_image`, by a manifest's input of layout NCHW."""
    _, height, width = spec.shape
    return resize_image(image, height=height, width=width, resize=spec.resize, preprocess=spec.preprocess)


def needs_fitting(images: NDArray[Any], spec: InputSpec) -> bool:
    """Whether an array holds images, one per row, of another size than the model's that the manifest resizes.

    They are uint8 (N, H, W, C), or (N, H, W) for one channel.
    """
    if spec.layout is not Layout.NCHW or (spec.resize is None and spec.preprocess is None):
        return False
    channels, height, width = spec.shape
    if images.dtype != np.uint8 or 0 in images.shape:
        return False
    if images.ndim == 4:
        return images.shape[3] == channels and images.shape[1:3] != (height, width)
    # Three axes may as well be one image with its channels last.
    is_grey = images.ndim == 3 and channels == 1 and images.shape[2] > _MOST_CHANNELS
    return is_grey and images.shape[1:] != (height, width) and images.shape[:2] != (height, width)


def fit_images(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Images for which :func:`needs_fitting` holds, as uint8 (N, H, W, C) of the model's size."""
    last = images if images.ndim == 4 else images[..., None]
    return np.stack([fit_image(image, spec) for image in last])
