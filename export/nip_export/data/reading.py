"""Reads images: a folder with a subfolder per class, an ``.npz`` with ``images`` and ``labels``, or Parquet.

Decoding and resizing are the runtime's own, so that a model is profiled and calibrated on exactly the
pixels that `nip predict` would hand it. Every file is resized before the next one is read, and what does not
fit into a little memory is kept in a temporary file.
"""

from __future__ import annotations

import logging
from pathlib import Path

from nip_export.data.archive import read_archive
from nip_export.data.fitting import fit_for
from nip_export.data.folder import read_folder
from nip_export.data.images import ImageSet
from nip_export.data.parquet import Columns, parquet_files, read_parquet
from nip_export.support.progress import Progress, silent
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import PreprocessSpec, Resize

_log = logging.getLogger(__name__)


def read_dataset(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    resize: Resize = Resize.AREA,
    preprocess: PreprocessSpec | None = None,
    columns: Columns | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    is_labelled: bool = True,
    progress: Progress = silent,
) -> ImageSet:
    """Read images.

    A folder gives uint8 (N, H, W, C), RGB: every subfolder is a class, numbered in sorted order of the names,
    or by its name if all of them are numbers; files within it, at any depth, are its images, in sorted order.
    Hidden files are left out. A file that OpenCV cannot decode is an error and not left out, so that a data
    set never shrinks unnoticed.

    An ``.npz`` gives its ``images`` and ``labels`` (and ``class_names``, if there) as they are: uint8, or
    floats within the bounds as float32.

    Parquet files, one or a folder of them, hold encoded images (bytes, or structs of bytes and path as
    Hugging Face's ``datasets`` writes them), paths, or arrays: uint8 (H, W) or (H, W, C), or float32 of the
    model's shape, in nested lists or tensors. Labels are class numbers or names there.

    Args:
        path: folder, ``.npz`` or Parquet file.
        size: (height, width) to resize uint8 images to; None keeps their size, which must then be one.
        channels: 1 (grey) or 3 (RGB) for files; None takes 1 if every image is grey, else 3. For an ``.npz``
            it is only checked.
        resize: interpolation, to be pinned in the manifest.
        preprocess: resize and crop uint8 images so, instead of stretching them to `size`.
        columns: of Parquet files; None for the usual names.
        bounds: lowest and highest value of floats.
        is_labelled: False takes any folder, and leaves the labels of an ``.npz`` unread.
        progress: called with the number of images to read.

    Raises:
        InputError: nothing at `path`, no subfolders, a class without images, undecodable files (the first few
            and their number), images of several sizes without `size`, no room in the temporary folder, or
            arrays that fit no :class:`ImageSet`.
        DependencyError: OpenCV or pyarrow is needed and missing.
    """
    path, fit = Path(path), fit_for(size, resize, preprocess)
    files = parquet_files(path) if path.exists() else []
    if files:
        found = read_parquet(
            files,
            columns if columns is not None else Columns(),
            fit=fit,
            channels=channels,
            bounds=bounds,
            is_labelled=is_labelled,
            progress=progress,
        )
        _log.info("read %d images from %s", len(found), path)
        return found
    if path.is_dir():
        found = read_folder(path, fit=fit, channels=channels, is_labelled=is_labelled, progress=progress)
        _log.info("read %d images from %s", len(found), path)
        return found
    if not path.is_file():
        raise InputError.mismatch(
            expected=f"a folder or an .npz file at {path}", got="nothing there", fix="check the path"
        )
    if path.suffix.lower() != ".npz":
        raise InputError.mismatch(
            expected="a folder with one subfolder per class, an .npz with images and labels, or Parquet",
            got=str(path),
            fix="store it as one of these",
        )
    return read_archive(
        path,
        fit=fit,
        channels=channels,
        bounds=bounds,
        is_labelled=is_labelled,
        progress=progress,
    )
