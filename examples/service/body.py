"""From the body of a request to input of a model, or to the status and the line that refuse it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.arrays import Images, check_kind
from nip_runtime.inputs.images import decode_array, decode_image, fit_image, fit_images, needs_fitting
from nip_runtime.inputs.images.declared import declared_size

_NPY: Final = b"\x93NUMPY"
_IMAGES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_ORIGIN: Final = "the request's body"
MOST_PIXELS: Final = 2**24
"""Width times height of an image: 50 MB as RGB. What declares more is refused undecoded."""


class Refused(Exception):
    """A request that gets no label: its status, and why in one line."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


def images_of(body: bytes, spec: InputSpec, *, rows: int) -> Images:
    """Turn a body into input, by its first bytes: PNG, JPEG or ``.npy``. No other decoder is let near it.

    Args:
        body: one image file, or an array (N, …) as the manifest states.
        spec: of the model.
        rows: most rows of an array.

    Raises:
        Refused: 400 for an empty body, 415 for another format, 413 for too many rows or pixels, 422 for what
            can't be decoded or does not fit the model.
    """
    if not body:
        raise Refused(
            HTTPStatus.BAD_REQUEST, "expected an image, got an empty body; send a PNG, JPEG or .npy file"
        )
    try:
        if body.startswith(_NPY):
            array = decode_array(body, origin=_ORIGIN)
            if array.ndim and len(array) > rows:
                raise Refused(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"expected at most {rows} rows, got {len(array)}; send them in several requests",
                )
            return check_kind(fit_images(array, spec) if needs_fitting(array, spec) else array, spec)
        if not body.startswith(_IMAGES):
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "expected a PNG, JPEG or .npy file, got something else; convert it",
            )
        return check_kind(_pixels(body, spec), spec)
    except InputError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(str(error).split())) from error


def _pixels(body: bytes, spec: InputSpec) -> Images:
    """uint8 (1, H, W, C) of an image file, resized as the manifest pins it."""
    if spec.layout is not Layout.NCHW or spec.shape[0] not in (1, 3):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "expected a .npy file, for this model takes no image files, got one; send an array",
        )
    try:
        size = declared_size(body)
    except ValueError as error:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"expected an image, got one with a damaged header ({error}); send it again",
        ) from error
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"expected at most {MOST_PIXELS} pixels, got {size[0]} x {size[1]}; make it smaller",
        )
    image = decode_image(np.frombuffer(body, np.uint8), channels=spec.shape[0], origin=_ORIGIN)
    return fit_image(image, spec)[None]
