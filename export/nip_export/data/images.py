"""Labelled images in memory, their form at the model's door, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nip_export.data.stored import StoredImages
from nip_runtime.errors import InputError

Images = npt.NDArray[np.uint8 | np.float32]
"""uint8 (N, H, W) or (N, H, W, C) in 0…255, or float32 (N, *shape) in [0, 1]."""

CHUNK: Final = 2**24
"""Bytes of stored images that are looked at together."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N labelled images of one size.

    Args:
        kept: uint8 (N, H, W) or (N, H, W, C), RGB; or float32 (N, *shape) in [0, 1], for images (N, C, H,
            W); in memory or on disk.
        labels: int64 (N,), classes from 0.
        class_names: one name per class, in the order of the model's outputs; None if unknown.
        bounds: lowest and highest value of float32 inputs, where these are not 0 and 1.
        is_labelled: False: the labels are place-holders until the network's own predictions stand in.

    Raises:
        InputError: for another dtype or shape, NaN or values out of bounds, numbers of images and labels that
            differ, negative labels, or labels beyond the class names.
    """

    kept: Images | StoredImages
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    is_labelled: bool = True

    def __post_init__(self) -> None:
        first = 0
        for part in in_parts(self.kept):
            _check_images(part, self.bounds, first=first)
            first += len(part)
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.kept),):
            raise InputError.mismatch(
                expected=f"int64 labels of shape ({len(self.kept)},), one per image",
                got=f"{self.labels.dtype} {self.labels.shape}",
                fix="pass one class number per image",
            )
        if len(self.labels) and self.labels.min() < 0:
            raise InputError.mismatch(
                expected="labels from 0", got=f"{self.labels.min()}", fix="number the classes from 0"
            )
        if self.class_names is not None and len(self.labels) and self.labels.max() >= len(self.class_names):
            raise InputError.mismatch(
                expected=f"labels below {len(self.class_names)}, the number of class names",
                got=f"{self.labels.max()}",
                fix="name every class, in the order of the model's outputs: class_names, --classes FILE",
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Images:
        """All images in memory, for what is not done in parts."""
        return np.asarray(self.kept)

    def take(self, rows: npt.NDArray[np.integer]) -> ImageSet:
        """The images at these row indices, in that order."""
        kept = self.kept.take(rows) if isinstance(self.kept, StoredImages) else self.kept[rows]
        return ImageSet(kept, self.labels[rows], self.class_names, self.bounds, self.is_labelled)

    def renumbered(self, names: Sequence[str]) -> ImageSet:
        """The same images with the classes numbered in the order of `names`, the model's own.

        Raises:
            InputError: the set has no class names, or one that is not among `names`.
        """
        unknown = [name for name in self.class_names or () if name not in names]
        if self.class_names is None or unknown:
            raise InputError.mismatch(
                expected=f"classes named as the model's: {', '.join(names[:5])} …",
                got=", ".join(unknown[:5]) or "labels without class names",
                fix="name subfolders (or class_names in an .npz) as in --classes, or mend that list",
            )
        numbers = np.array([names.index(name) for name in self.class_names], np.int64)
        return ImageSet(self.kept, numbers[self.labels], tuple(names), self.bounds)

    def digest(self) -> str:
        """Fingerprint of images and labels, see :func:`digest`."""
        return digest(self.kept, self.labels)


def to_model_input(images: Images, channels: int) -> npt.NDArray[np.float32]:
    """Bring images to what a model takes, in the manner of the runtime.

    Args:
        images: uint8 (N, H, W) for one channel or (N, H, W, C), divided by 255; or float32 (N, *shape) in
            [0, 1], which passes unchanged.
        channels: what the model expects as C; float32 arrays that are not of four axes are not checked
            against it, for they are no images.

    Returns:
        float32 (N, C, H, W) in [0, 1], contiguous.

    Raises:
        InputError: dtype or shape is another, or the images have another number of channels.
    """
    if images.dtype == np.float32:
        if images.ndim == 4 and images.shape[1] != channels:
            raise _wrong_channels(channels, images, "float images are channels-first: (N, C, H, W)")
        return np.ascontiguousarray(images, dtype=np.float32)
    _check_images(images)
    last = images[..., None] if images.ndim == 3 else images
    if last.shape[3] != channels:
        raise _wrong_channels(channels, images, "read them with the model's number of channels")
    floats = last.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    floats /= np.float32(255)
    return floats


def in_parts(images: Images | StoredImages) -> Iterator[Images]:
    """Images as arrays in memory: as they are, or `CHUNK` bytes at a time; one part at least."""
    if not isinstance(images, StoredImages):
        yield images
        return
    count = max(1, CHUNK // max(1, int(np.prod(images.item)) * images.dtype.itemsize))
    for first in range(0, max(len(images), 1), count):
        yield images[first : first + count]


def digest(images: npt.NDArray[Any] | StoredImages, labels: npt.NDArray[Any]) -> str:
    """SHA-256 over dtype, shape and bytes of both arrays, as ``"sha256:…"``.

    The same pixels as uint8 and as float32 give different digests: they are different data. Byte order and
    memory layout of the machine do not matter.
    """
    sha = hashlib.sha256()
    for array in (images, labels):
        sha.update(f"{array.dtype.name}{array.shape};".encode())
        for part in in_parts(array):
            little = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
            sha.update(little.data.cast("B") if little.size else b"")
    return f"sha256:{sha.hexdigest()}"


def shared(
    first: npt.NDArray[Any] | StoredImages, second: npt.NDArray[Any] | StoredImages
) -> npt.NDArray[np.bool_]:
    """Which of the second images (N, …) are, value for value, among the first (M, …): (N,) bool."""
    if first.dtype != second.dtype or first.shape[1:] != second.shape[1:]:
        return np.zeros(len(second), bool)
    known = set(_fingerprints(first))
    return np.array([one in known for one in _fingerprints(second)], bool)


def _fingerprints(images: npt.NDArray[Any] | StoredImages) -> Iterator[bytes]:
    for part in in_parts(images):
        for image in part:
            yield hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _check_images(images: Images, bounds: tuple[float, float] = (0.0, 1.0), *, first: int = 0) -> None:
    low, high = bounds
    if images.dtype == np.uint8:
        if images.ndim not in (3, 4):
            raise _wrong_images(images, "stack images of one size")
    elif images.dtype == np.float32:
        if images.ndim < 2:
            raise _wrong_images(images, "put the batch axis first")
        if images.size and not (np.isfinite(images.min()) and np.isfinite(images.max())):
            row = first + int(np.argmin(np.isfinite(images).reshape(len(images), -1).all(1)))
            raise InputError.mismatch(
                expected=f"float32 values in [{low:g}, {high:g}]",
                got=f"NaN or Inf in row {row}",
                fix="drop or repair such rows first",
            )
        if images.size and not (images.min() >= low and images.max() <= high):
            raise InputError.mismatch(
                expected=f"float32 values in [{low:g}, {high:g}]",
                got=f"{images.min():.6g} to {images.max():.6g}",
                fix="scale them; the model's normalisation is given by mean and std",
            )
    elif images.dtype.kind in "iu":
        raise _wrong_images(
            images,
            "convert pixels to uint8; other whole numbers, such as token ids, are not supported, for the "
            "defence adds small real changes to inputs",
        )
    elif images.dtype == object:
        raise _wrong_images(
            images, "the items differ in shape: bring them to one size, then numpy.stack them"
        )
    else:
        raise _wrong_images(images, "convert with images.astype(numpy.float32)")


def _wrong_images(images: Images, fix: str) -> InputError:
    return InputError.mismatch(
        expected="images as uint8 (N, H, W) or (N, H, W, C), or float32 (N, *shape) in [0, 1]",
        got=f"{images.dtype} {images.shape}",
        fix=fix,
    )


def _wrong_channels(channels: int, images: Images, fix: str) -> InputError:
    return InputError.mismatch(
        expected=f"images of {channels} channel{'s' * (channels != 1)}",
        got=f"{images.dtype} {images.shape}",
        fix=fix,
    )
