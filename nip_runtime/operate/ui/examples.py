"""Images that the page offers: prepared ones, benign and attacked, and pictures out of a folder.

Prepared ones are made beside the export, where gradients are: ``nip export --ui-examples`` and ``nip demo``
write them as an ``.npz`` beside the file. All pixels are whole 8-bit values, so that an attacked image is one
that could be saved as a picture.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Manifest
from nip_runtime.inputs.images import find_files, read_file
from nip_runtime.support.kinds import no_archive

MOST_PICTURES: Final = 48
_MOST_BYTES: Final = 1 << 28
_FIX: Final = "make it again with nip export --ui-examples, or remove it"
_FIELDS: Final = ("images", "labels", "attacked", "attacks", "eps", "universal", "graph_digest")

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Examples:
    """N images and A attacks on the first P of them.

    Attributes:
        images: (N, H, W, C) uint8.
        labels: N class numbers; None where nobody has said it.
        names: N names, possibly empty.
        attacks: A names of attacks.
        eps: A largest changes of a pixel, in steps of 1/255.
        attacked: (A, P, H, W, C) uint8.
        universal: (H, W, C) int8, a pattern for all images as shares of its ε in steps of 1/127; or None.
    """

    images: Bytes
    labels: tuple[int | None, ...]
    names: tuple[str, ...]
    attacks: tuple[str, ...]
    eps: tuple[float, ...]
    attacked: Bytes
    universal: NDArray[np.int8] | None


def examples_beside(model: Path) -> Path:
    """Where the prepared examples of a file lie: model.nip.onnx has model.nip.examples.npz."""
    return model.with_name(f"{model.name.removesuffix('.onnx')}.examples.npz")


def no_examples(manifest: Manifest) -> Examples:
    """None at all, in the shapes of a model."""
    channels, height, width = manifest.input.shape
    nothing = np.zeros((0, height, width, channels), np.uint8)
    return Examples(nothing, (), (), (), (), nothing[None][:0], None)


def read_examples(path: Path, manifest: Manifest) -> Examples:
    """Prepared examples of the file with this manifest.

    Raises:
        InputError: there is no such file, it holds something else, or belongs to another defended file.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        with np.load(path, allow_pickle=False) as packed:
            found: dict[str, NDArray[Any]] = {name: packed[name] for name in _FIELDS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        reason = getattr(error, "strerror", None) or no_archive(path) or str(error)
        raise InputError.mismatch(expected=f"prepared examples at {path}", got=reason, fix=_FIX) from error
    if str(found["graph_digest"]) != manifest.digests.graph:
        raise InputError.mismatch(
            expected=f"examples made for this file in {path}", got="those of another graph", fix=_FIX
        )
    examples = _checked(found, path, manifest)
    labels = tuple(int(label) for label in found["labels"])
    return replace(examples, labels=labels, names=tuple("" for _ in labels))


def _checked(found: dict[str, NDArray[Any]], path: Path, manifest: Manifest) -> Examples:
    channels, height, width = manifest.input.shape
    picture = (height, width, channels)
    rows, kinds = len(np.atleast_1d(found["labels"])), len(np.atleast_1d(found["attacks"]))
    wanted = {
        "images": ("uint8", (rows, *picture)),
        "labels": ("int64", (rows,)),
        "attacked": ("uint8", (kinds, rows, *picture)),
        "eps": ("float64", (kinds,)),
        "universal": ("int8", picture),
    }
    for name, (dtype, shape) in wanted.items():
        array = found[name]
        if (array.dtype, array.shape) != (np.dtype(dtype), shape):
            raise InputError.mismatch(
                expected=f"{name} {dtype} {shape} in {path}", got=f"{array.dtype} {array.shape}", fix=_FIX
            )
    labels = found["labels"]
    if rows and not all(0 <= label < manifest.output.classes for label in labels):
        raise InputError.mismatch(
            expected=f"labels below {manifest.output.classes} in {path}", got=str(labels.max()), fix=_FIX
        )
    return Examples(
        images=found["images"],
        labels=(),
        names=(),
        attacks=tuple(str(name) for name in found["attacks"]),
        eps=tuple(float(eps) for eps in found["eps"]),
        attacked=found["attacked"],
        universal=found["universal"],
    )


def with_pictures(examples: Examples, folder: Path, manifest: Manifest) -> tuple[Examples, int]:
    """The examples and pictures out of a folder, and how many of these were left out for lack of place.

    A picture in a subfolder that bears a class's name is taken for one of that class.

    Raises:
        InputError: the folder holds no picture, or one that can't be read or does not fit the model.
        DependencyError: OpenCV is missing.
    """
    paths = find_files([folder])
    classes = manifest.output.class_names or ()
    images, labels, titles = [examples.images], list(examples.labels), list(examples.names)
    for path in paths[:MOST_PICTURES]:
        try:
            rows = read_file(path, manifest.input)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if rows.dtype != np.uint8:
            raise InputError.mismatch(
                expected=f"a picture, or uint8 pixels, in {path}", got=str(rows.dtype), fix="leave it out"
            )
        rows = rows.reshape(len(rows), *examples.images.shape[1:])
        label = classes.index(path.parent.name) if path.parent.name in classes else None
        images.append(rows.astype(np.uint8, copy=False))
        labels += [label] * len(rows)
        titles += [path.name] * len(rows)
    joined = np.concatenate(images)
    most = len(examples.images) + MOST_PICTURES
    left_out = max(len(paths) - MOST_PICTURES, 0) + max(len(joined) - most, 0)
    shown = replace(examples, images=joined[:most], labels=tuple(labels[:most]), names=tuple(titles[:most]))
    return shown, left_out
