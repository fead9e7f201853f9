"""Labelled images named on a command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nip_export.support.progress import Progress, silent
from nip_runtime.errors import InputError

if TYPE_CHECKING:
    from nip_export.data import ImageSet
    from nip_runtime.file.manifest import InputSpec, PreprocessSpec


UNIT, FULL_SCALE = (0.0, 1.0), (-1.0, 1.0)


def heard_input(args: argparse.Namespace) -> InputSpec | None:
    """What ``--rate``, ``--samples`` and ``--cut`` say of recordings; None without them.

    ``--bounds`` is full scale, ±1 unless named: recordings lie evenly around 0.

    Raises:
        InputError: one of the two without the other, or with ``--size``, or numbers that do not fit.
    """
    if args.rate is None and args.samples is None:
        return None
    if None in (args.rate, args.samples) or (args.size, args.preprocess) != (None, None):
        raise InputError.mismatch(
            expected="--rate and --samples together, and no --size or --preprocess, for recordings",
            got=f"--rate {args.rate}, --samples {args.samples}, --size {args.size}, --preprocess "
            f"{args.preprocess}",
            fix="name the rate and the length of the model's input",
        )
    from nip_export.data import sound_input

    bounds = args.bounds if args.bounds != UNIT else FULL_SCALE
    return sound_input(args.rate, args.samples, cut=args.cut, bounds=bounds)


def read_labelled(
    path: Path,
    size: tuple[int, int] | None,
    names: tuple[str, ...] | None,
    heard: InputSpec | None,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    channels: int | None = None,
    preprocess: PreprocessSpec | None = None,
    columns: tuple[str, str] = ("", ""),
    is_labelled: bool = True,
    progress: Progress = silent,
) -> ImageSet:
    """As :func:`read_images`, or recordings where the input is one of those.

    Raises:
        InputError: nothing usable there, or other classes.
    """
    if heard is None:
        return read_images(
            path,
            size,
            names,
            bounds,
            channels=channels,
            preprocess=preprocess,
            columns=columns,
            is_labelled=is_labelled,
            progress=progress,
        )
    if not is_labelled:
        raise InputError.mismatch(
            expected="recordings in one subfolder per class",
            got="--unlabelled",
            fix="leave it out; in Python, export_defended takes recordings without labels",
        )
    from nip_export.data import read_recordings

    data = read_recordings(path, heard, progress=progress)
    return data.renumbered(names) if names is not None and data.class_names is not None else data


def read_images(
    path: Path,
    size: tuple[int, int] | None,
    names: tuple[str, ...] | None,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    channels: int | None = None,
    preprocess: PreprocessSpec | None = None,
    columns: tuple[str, str] = ("", ""),
    is_labelled: bool = True,
    progress: Progress = silent,
) -> ImageSet:
    """Read a folder or .npz, numbered in the order of `names` where the images bring class names.

    Arguments as for :func:`nip_export.data.read_dataset`; `channels` is for image files, an .npz says its
    own; `columns` names those of images and labels in Parquet files.

    Raises:
        InputError: nothing usable there, or other classes.
    """
    from nip_export.data import Columns, read_dataset

    data = read_dataset(
        path,
        size=size,
        channels=None if path.suffix.lower() == ".npz" else channels,
        bounds=bounds,
        preprocess=preprocess,
        columns=Columns(*columns),
        is_labelled=is_labelled,
        progress=progress,
    )
    return data.renumbered(names) if names is not None and data.class_names is not None else data
