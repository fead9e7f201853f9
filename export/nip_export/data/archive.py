"""Images of an ``.npz``; what does not fit into a little memory is read row by row and kept on disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nip_export.data.fitting import Fit, fitted
from nip_export.data.images import ImageSet
from nip_export.data.stored import IN_MEMORY, StoredImages, store
from nip_export.support.progress import Progress
from nip_runtime.errors import InputError
from nip_runtime.support.kinds import no_archive


def read_archive(
    path: Path,
    *,
    fit: Fit | None,
    channels: int | None,
    bounds: tuple[float, float],
    is_labelled: bool,
    progress: Progress,
) -> ImageSet:
    """See :func:`nip_export.data.read_dataset`."""
    arrays: dict[str, NDArray[Any]] = {}
    large: NDArray[Any] | StoredImages | None = None
    try:
        # Opened here, for numpy leaves the file open when it is no zip file.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                large = _large(loaded, path, fit, progress)
                wanted = [name for name in loaded.files if large is None or name != "images"]
                arrays = {name: loaded[name] for name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise InputError.mismatch(
                expected=f"arrays of numbers in {path}",
                got="pickled Python objects",
                fix="if the items differ in shape, bring them to one size, then numpy.stack them",
            ) from error
        raise InputError.mismatch(
            expected=f"a plain .npz file at {path}",
            got=no_archive(path) or str(error),
            fix="store it with numpy.savez",
        ) from error
    needed = {"images", "labels"} if is_labelled else {"images"}
    present = arrays.keys() | ({"images"} if large is not None else set())
    if not needed <= present:
        without = ", or let the network's own predictions stand in for labels: --unlabelled"
        raise InputError.mismatch(
            expected=f"arrays named {' and '.join(map(repr, sorted(needed)))} in {path}",
            got=", ".join(present) or "none",
            fix="store them under these names" + (without if "images" in present else ""),
        )
    images = large if large is not None else arrays["images"]
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        images = images.astype(np.float32)
    labels = arrays["labels"] if is_labelled else np.zeros(len(images), np.int64)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError.mismatch(
            expected=f"integer labels in {path}", got=str(labels.dtype), fix="store class numbers from 0"
        )
    names = arrays.get("class_names") if is_labelled else None
    result = ImageSet(
        images,
        labels.astype(np.int64),
        None if names is None else tuple(str(name) for name in names),
        bounds,
        is_labelled,
    )
    return _fitted(result, path, fit, channels)


def _large(
    loaded: Any, path: Path, fit: Fit | None, progress: Progress
) -> StoredImages | NDArray[Any] | None:
    """``images`` row by row, if they are too large for memory; floats as float32, uint8 images resized."""
    if "images" not in loaded.files:
        return None
    with loaded.zip.open("images.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(member)
        if is_fortran or dtype.hasobject or prod(shape) * dtype.itemsize <= IN_MEMORY or len(shape) < 2:
            return None
        stage = progress(f"Read {path.name}", shape[0])

        def rows() -> Iterator[NDArray[Any]]:
            for row in _rows(member, shape, dtype):
                stage(1)
                yield row.astype(np.float32) if dtype.kind == "f" else fitted(row, fit)

        return store(rows())


def _rows(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    length = prod(shape[1:]) * dtype.itemsize
    for _ in range(shape[0]):
        content = member.read(length)
        if len(content) < length:
            raise ValueError("images.npy is shorter than its header says")
        yield np.frombuffer(content, dtype).reshape(shape[1:])


def _fitted(data: ImageSet, path: Path, fit: Fit | None, channels: int | None) -> ImageSet:
    images = data.kept
    if images.dtype != np.uint8:
        return data
    found = images.shape[3] if images.ndim == 4 else 1
    if channels is not None and found != channels:
        raise InputError.mismatch(
            expected=f"images of {channels} channels in {path}", got=str(images.shape), fix="convert them"
        )
    if (
        isinstance(images, StoredImages)
        or len(images) == 0
        or fitted(images[0], fit).shape == images[0].shape
    ):
        return data
    resized = store(fitted(image, fit) for image in images)
    return ImageSet(resized, data.labels, data.class_names, data.bounds, data.is_labelled)
