"""One file, image, recording or array, as input of a model."""

from __future__ import annotations

from pathlib import Path

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.arrays import Images, check_kind, check_values
from nip_runtime.inputs.images.arrays import read_array
from nip_runtime.inputs.images.decode import read_image
from nip_runtime.inputs.images.find import ARRAY_SUFFIXES
from nip_runtime.inputs.images.opened import open_file
from nip_runtime.inputs.images.resize import fit_image, fit_images, needs_fitting
from nip_runtime.inputs.sound import read_sound


def read_file(path: Path, spec: InputSpec) -> Images:
    """Read one file as checked input of a model.

    An image gives uint8 (1, H, W, C), a recording float32 (1, 1, samples), an array file (N, …). Images of
    another size than the model's, those in array files too, are brought to it as ``spec`` says.

    Raises:
        InputError: if the file can't be read or does not fit ``spec``.
        DependencyError: if it is an image and OpenCV is missing, or a recording and soundfile is.
    """
    images = read_unjudged(path, spec)
    check_values(images, spec)
    return images


def read_one(path: Path, spec: InputSpec) -> Images:
    """As :func:`read_file`, of a file that holds one row: (1, …).

    Raises:
        InputError: also if it is an array with another number of rows.
    """
    images = read_file(path, spec)
    if len(images) != 1:
        raise InputError.mismatch(
            expected=f"one item in {path}", got=str(len(images)), fix="pass the rows of the array instead"
        )
    return images


def read_unjudged(path: Path, spec: InputSpec) -> Images:
    """As :func:`read_file`, but the values of an array are left to those who answer its rows one by one."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        array = read_array(path)
        return check_kind(fit_images(array, spec) if needs_fitting(array, spec) else array, spec)
    if spec.sound is not None:
        with open_file(path) as (file, _):
            return check_kind(read_sound(file, spec, origin=str(path)), spec)
    if spec.layout is not Layout.NCHW:
        raise InputError.mismatch(
            expected="an .npy or .npz file, for this model takes no images", got=path.name, fix="store arrays"
        )
    return check_kind(fit_image(read_image(path, channels=spec.shape[0]), spec)[None], spec)
