"""Images as programs hold them: arrays, tensors, iterables of either, torch DataLoaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from nip_export.data.fitting import Fit, fitted
from nip_export.data.stored import StoredImages, store
from nip_runtime.errors import InputError

Given: TypeAlias = "NDArray[Any] | Tensor | StoredImages | Iterable[Any]"
"""Images: (N, *shape) as one array or tensor, or one after another.

An iterable gives items, each an image or a pair of image and label; a DataLoader gives batches of these. All
are read once, and what does not fit into a little memory is kept in a temporary file."""
Labels = NDArray[Any] | Sequence[int] | None


def gather(
    images: Given, labels: Labels, fit: Fit | None = None
) -> tuple[NDArray[Any] | StoredImages, Labels]:
    """Images as one array, in memory or on disk, and their labels.

    Args:
        images: see :data:`Given`.
        fit: brings uint8 images of another size to the network's.
        labels: (N,), or None where `images` brings them, or where there are none.

    Raises:
        InputError: no image, images of several shapes or dtypes, or labels from both sides.
    """
    if isinstance(images, Tensor):
        images = images.detach().cpu().numpy()
    if isinstance(images, np.ndarray | StoredImages):
        return _fitted(images, fit), labels
    given: object = images
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise InputError.mismatch(
            expected="images as an array, a tensor, an iterable of them or a DataLoader",
            got=type(images).__name__,
            fix="pass uint8 (N, H, W), (N, H, W, C) or float32 (N, *shape) in [0, 1]",
        )
    brought: list[int] = []
    whole = store(_alike(fitted(image, fit) for image in _items(images, brought)))
    if not brought:
        return whole, labels
    if labels is not None or len(brought) != len(whole):
        raise InputError.mismatch(
            expected="labels with every image, or in `labels`",
            got=f"{len(brought)} labels with {len(whole)} images"
            + (" and others in `labels`" if labels is not None else ""),
            fix="give each label once",
        )
    return whole, np.array(brought, np.int64)


def _fitted(images: NDArray[Any] | StoredImages, fit: Fit | None) -> NDArray[Any] | StoredImages:
    if images.ndim < 3 or len(images) == 0 or fitted(images[0], fit).shape == images[0].shape:
        return images
    return store(fitted(image, fit) for image in images)


def _items(images: Iterable[Any], labels: list[int]) -> Iterator[NDArray[Any]]:
    """Single images, whose labels are noted."""
    batched = isinstance(images, DataLoader)
    for given in images:
        pair = isinstance(given, tuple | list) and len(given) == 2
        values = _array(given[0] if pair else given[0] if isinstance(given, list) else given)
        if pair:
            numbers = np.atleast_1d(_array(given[1]))
            if numbers.dtype.kind not in "iu" or len(numbers) != (len(values) if batched else 1):
                raise InputError.mismatch(
                    expected="one whole number as label of every image",
                    got=f"{numbers.dtype} {numbers.shape}",
                    fix="yield pairs (image, class number)",
                )
            labels.extend(int(number) for number in numbers)
        yield from values if batched else (values,)


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _alike(arrays: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    first: NDArray[Any] | None = None
    for number, array in enumerate(arrays):
        first = array if first is None else first
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise InputError.mismatch(
                expected=f"images alike: {first.dtype} {first.shape}, as the first one",
                got=f"{array.dtype} {array.shape} as number {number}",
                fix="resize and convert them before",
            )
        yield array
    if first is None:
        raise InputError.mismatch(expected="images", got="none", fix="check what the iterable yields")
