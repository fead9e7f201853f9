"""Reads labelled recordings: a folder with one subfolder of sound files per class.

Reading is the runtime's own, so that a model is profiled and calibrated on exactly the samples that
`nip predict` would hand it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np

from nip_export.data.images import ImageSet
from nip_export.support.progress import Progress, silent
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout, Resampling, SoundCut, SoundSpec
from nip_runtime.inputs.images import read_file
from nip_runtime.inputs.sound import SOUND_SUFFIXES

_log = logging.getLogger(__name__)
_LISTED: Final = 5
SHORTEST: Final = 10
"""A recording must fill at least one part of the input, of so many."""


def sound_input(
    rate: int,
    samples: int,
    *,
    cut: SoundCut | str = SoundCut.MIDDLE,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> InputSpec:
    """An input of recordings, as a manifest pins it.

    Args:
        rate: samples per second that the model hears.
        samples: how many of them.
        cut: which piece of a longer recording.
        bounds: full scale.

    Raises:
        InputError: naming the value that does not fit.
    """
    try:
        sound = SoundSpec(
            rate=rate,
            resample=Resampling.POLYPHASE,
            cut=SoundCut(cut),
            shortest=max(1, samples // SHORTEST),
        )
        return InputSpec(
            name="input",
            shape=(1, samples),
            layout=Layout.ANY,
            bounds=bounds,
            mean=None,
            std=None,
            resize=None,
            sound=sound,
        )
    except ValueError as error:
        raise InputError(
            f"{error}; name rate, samples and bounds of the recordings the model was trained on"
        ) from (error)


def read_recordings(root: str | Path, spec: InputSpec, *, progress: Progress = silent) -> ImageSet:
    """Read a folder: float32 (N, 1, samples) within the bounds.

    Every subfolder is a class, numbered in sorted order of the names, or, where all are named by numbers, by
    these; sound files within it, at any depth, are its recordings, in sorted order. One that can't be read is
    an error and not left out.

    Args:
        root: the folder.
        spec: an input with ``sound``.
        progress: called with the number of recordings to read.

    Raises:
        InputError: no such folder, no subfolders, a class without recordings, or recordings that can't be
            read or are too short (the first few and their number).
        DependencyError: soundfile is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError.mismatch(
            expected=f"a folder with one subfolder of recordings per class at {root}",
            got="none",
            fix="check the path",
        )
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise InputError.mismatch(
            expected=f"one subfolder per class in {root}",
            got="none",
            fix="sort the recordings into such folders",
        )
    # The number that a folder is named by is the class's own, as it is among images.
    own = all(name.isdecimal() for name in names)
    read, labels, refused = [], [], []
    found = [_recordings(root / name) for name in names]
    stage = progress(f"Read {root.name}", sum(map(len, found)))
    for index, files in enumerate(found):
        label = int(names[index]) if own else index
        for path in files:
            stage(1)
            try:
                read.append(read_file(path, spec)[0])
                labels.append(label)
            except InputError as error:
                refused.append((path, error))
    if refused:
        listed = "; ".join(str(error) for _, error in refused[:_LISTED])
        more = f"; and {len(refused) - _LISTED} more" if len(refused) > _LISTED else ""
        raise InputError(f"{len(refused)} of {len(read) + len(refused)} recordings in {root}: {listed}{more}")
    _log.info("read %d recordings of %d classes from %s", len(read), len(names), root)
    return ImageSet(
        np.stack(read).astype(np.float32),
        np.array(labels, np.int64),
        None if own else tuple(names),
        bounds=spec.bounds,
    )


def _recordings(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SOUND_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        kinds = ", ".join(sorted(SOUND_SUFFIXES))
        raise InputError.mismatch(
            expected=f"recordings ({kinds}) in the class folder {folder}",
            got="none",
            fix="add some or remove the folder",
        )
    return found
