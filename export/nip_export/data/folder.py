"""Images of a folder: one subfolder per class, or any folder where nobody asks for classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_export.data.fitting import Fit, fitted
from nip_export.data.images import ImageSet
from nip_export.data.stored import StoredImages, store
from nip_export.support.progress import Progress
from nip_runtime.errors import InputError
from nip_runtime.inputs.images import read_image

_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_LISTED: Final = 5


def read_folder(
    root: Path,
    *,
    fit: Fit | None,
    channels: int | None,
    is_labelled: bool,
    progress: Progress,
) -> ImageSet:
    """See :func:`nip_export.data.read_dataset`."""
    names: tuple[str, ...] | None = None
    if is_labelled:
        names, files, labels = _labelled(root)
        # The number that a folder is named by is the class's own, whatever classes are missing.
        if all(name.isdecimal() for name in names):
            labels, names = [int(names[label]) for label in labels], None
    else:
        files = _files(root, "the folder")
        labels = [0] * len(files)
    decoder = _Decoder(root, files, fit, channels, progress)
    images = store(check_sizes(iter(decoder)))
    decoder.check()
    if channels is None and decoder.is_grey:
        images = as_grey(images)
    return ImageSet(images, np.array(labels, np.int64), names, is_labelled=is_labelled)


def _labelled(root: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Names of the subfolders, files, and the file's subfolder."""
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not names:
        loose = sum(1 for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
        raise InputError.mismatch(
            expected=f"one subfolder per class in {root}",
            got=f"{loose} files and no subfolder",
            fix="sort the images into such folders, or let the network's own predictions stand in for "
            "labels: --unlabelled",
        )
    found = [
        (file, label) for label, name in enumerate(names) for file in _files(root / name, "the class folder")
    ]
    return names, [file for file, _ in found], [label for _, label in found]


def _files(folder: Path, what: str) -> list[Path]:
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name.lower() not in _LITTER
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    if not found:
        raise InputError.mismatch(
            expected=f"images in {what} {folder}", got="none", fix="add some or remove the folder"
        )
    return found


@dataclass
class _Decoder:
    """Decodes one file after another, each brought to its size before the next is read."""

    root: Path
    files: list[Path]
    fit: Fit | None
    channels: int | None
    progress: Progress
    is_grey: bool = True
    refused: list[tuple[Path, InputError]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], str]]:
        stage = self.progress(f"Read {self.root.name}", len(self.files))
        for file in self.files:
            stage(1)
            try:
                image = read_image(file, channels=3 if self.channels is None else self.channels)
            except InputError as error:
                self.refused.append((file, error))
                continue
            try:
                image = fitted(image, self.fit)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            self.is_grey = self.is_grey and is_grey(image)
            if not self.refused:  # else there will be an error, and the images are of no use
                yield image, str(file)
        self.check()

    def check(self) -> None:
        """Refuse files that are no images."""
        if not self.refused:
            return
        listed = ", ".join(str(file) for file, _ in self.refused[:_LISTED])
        more = f" and {len(self.refused) - _LISTED} more" if len(self.refused) > _LISTED else ""
        raise InputError.mismatch(
            expected=f"images that OpenCV can decode in {self.root}",
            got=f"{len(self.refused)} of {len(self.files)} files that it cannot: {listed}{more}",
            fix="convert or remove them",
        ) from self.refused[0][1]


def check_sizes(images: Iterable[tuple[NDArray[Any], str]]) -> Iterator[NDArray[Any]]:
    """Images, each given with the place it comes from, as long as all are of one size.

    Raises:
        InputError: naming the first two that differ.
    """
    first: tuple[NDArray[Any], str] | None = None
    for image, where in images:
        first = (image, where) if first is None else first
        if image.shape != first[0].shape:
            sizes = ["x".join(map(str, each.shape[:2])) for each in (first[0], image)]
            raise InputError.mismatch(
                expected="images of one size, or a size to bring them to",
                got=f"{sizes[0]} in {first[1]} and {sizes[1]} in {where}",
                fix="name the model's input size, --size HxW, or how it crops, --preprocess",
            )
        yield image


def as_grey(images: NDArray[Any] | StoredImages) -> NDArray[Any] | StoredImages:
    """The first channel of images (N, H, W, 3) that are grey."""
    if isinstance(images, StoredImages):
        return store(image[:, :, :1] for image in images)
    return images[..., :1]


def is_grey(image: NDArray[np.uint8]) -> bool:
    """Whether all channels of an image (H, W, C) are the same."""
    if image.shape[2] == 1:
        return True
    red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
