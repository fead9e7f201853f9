"""Arguments of which no row can be answered: no array, or one of the wrong type, dtype, rank or shape."""

from __future__ import annotations

import array
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import InputSpec
from tests.abuse.inputs.case import Case, plain_floats, plain_pixels

Floats = NDArray[np.float32]


class Pretender:
    """Says that it is an array when asked."""

    @property  # type: ignore[misc]  # that is the point
    def __class__(self) -> type:
        return np.ndarray


class Convertible:
    """Would turn into an array if it were asked to, and must not be."""

    def __array__(self, *_: object, **__: object) -> NDArray[Any]:
        raise RuntimeError("asked to convert")


class Breaking:
    """Fails at whatever is asked of it but its type."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"asked for {name}")


def _no_array(name: str, make: Callable[[Floats], object], got: str, module: str = "") -> Case:
    return Case(name=name, build=lambda spec, _: make(plain_floats(spec)), error=f"got {got}", module=module)


def _floats(name: str, make: Callable[[Floats], NDArray[Any]], got: str, module: str = "") -> Case:
    return _no_array(name, make, got, module)


def _pixels(name: str, make: Callable[[NDArray[np.uint8]], NDArray[Any]], got: str) -> Case:
    return Case(name=name, build=lambda spec, _: make(plain_pixels(spec)), error=f"got {got}")


def _torch(images: Floats) -> Any:
    import torch

    return torch.from_numpy(images)


def _pil(images: Floats) -> object:
    from PIL import Image

    return Image.fromarray((images[0, 0] * 255).astype(np.uint8))


def _repeated(spec: InputSpec, rows: int) -> Floats:
    return np.broadcast_to(plain_floats(spec, 1), (rows, *spec.shape))


def _ragged(images: Floats) -> NDArray[Any]:
    rows = np.empty(len(images), object)
    rows[:] = [row[..., :-1] if index else row for index, row in enumerate(images)]
    return rows


def _matrix(images: Floats) -> NDArray[Any]:
    with warnings.catch_warnings(action="ignore"):  # numpy advises against them
        return np.asmatrix(images.reshape(len(images), -1))


def _structured(images: Floats) -> NDArray[Any]:
    return images.view([("red", np.float32)])


_DTYPES: Final = (
    *("bool", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "float64", "complex64", "complex128", "object"),
)

NO_ARRAYS: Final = (
    _no_array("a list of rows", list, "list"),
    _no_array("nested lists", lambda images: images.tolist(), "list"),
    _no_array("a tuple", tuple, "tuple"),
    _no_array("None", lambda _: None, "NoneType"),
    _no_array("a number", lambda _: 1.0, "float"),
    _no_array("a numpy scalar", lambda images: images.flat[0], "numpy.float32"),
    _no_array("text", lambda _: "photo.png", "str"),
    _no_array("bytes of values", lambda images: images.tobytes(), "bytes"),
    _no_array("a memoryview", lambda images: images.data, "memoryview"),
    _no_array("an array.array", lambda images: array.array("f", images.ravel()), "array.array"),
    _no_array("a path", lambda _: Path("photo.png"), "pathlib."),
    _no_array("a dict", lambda images: {"images": images}, "dict"),
    _no_array("a generator", lambda images: (row for row in images), "generator"),
    _no_array("a class", lambda _: np.ndarray, "type"),
    _no_array("an object", lambda _: SimpleNamespace(), "types.SimpleNamespace"),
    _no_array("an object that pretends to be an array", lambda _: Pretender(), "tests.abuse"),
    _no_array("an object that would convert itself", lambda _: Convertible(), "tests.abuse"),
    _no_array("an object that fails at everything", lambda _: Breaking(), "tests.abuse"),
    _no_array("a masked array", np.ma.masked_array, "numpy.ma"),
    _no_array("a masked array with a mask", lambda x: np.ma.masked_less(x, 0.5), "numpy.ma"),
    _no_array("a torch tensor", _torch, "torch.Tensor", "torch"),
    _no_array(
        "a torch tensor that wants a gradient", lambda x: _torch(x).requires_grad_(), "torch.Tensor", "torch"
    ),
    _no_array("a PIL image", _pil, "PIL.Image.Image", "PIL"),
)

DTYPES: Final = (
    *(
        _floats(f"dtype {name}", lambda images, name=name: images.astype(name), f"dtype {name}")  # type: ignore[misc]
        for name in _DTYPES
    ),
    _floats("dtype longdouble", lambda images: images.astype(np.longdouble), "dtype float"),
    _floats("the other byte order", lambda images: images.astype(">f4"), "dtype >f4"),
    _floats("text in an array", lambda images: images.astype("U8"), "dtype <U8"),
    _floats("bytes in an array", lambda images: images.astype("S8"), "dtype |S8"),
    _floats(
        "strings of any length", lambda x: x.astype("U8").astype(np.dtypes.StringDType()), "dtype StringDType"
    ),
    _floats("dates", lambda images: images.astype("i8").astype("M8[s]"), "dtype datetime64[s]"),
    _floats("spans of time", lambda images: images.astype("i8").astype("m8[s]"), "dtype timedelta64[s]"),
    _floats("raw bytes", lambda images: images.view("V4"), "dtype |V4"),
    _floats("structured values", _structured, "dtype [('red', '<f4')]"),
    _floats("a record array", lambda images: _structured(images).view(np.recarray), "dtype (numpy.record"),
    _floats("rows of different shapes", _ragged, "dtype object"),
    _floats("rows that are objects", lambda images: np.array([*images, None], object)[:-1], "dtype object"),
    _floats("signed pixels", lambda images: (images * 255).astype(np.int32), "dtype int32"),
    _floats("16-bit pixels", lambda images: (images * 65535).astype(np.uint16), "dtype uint16"),
)

SHAPES: Final = (
    _floats("a single number in an array", lambda images: np.array(images.flat[0]), "float32 ()"),
    _floats("one row without batch axis", lambda images: images[0], "float32 ("),
    _floats("flat values", np.ravel, "float32 ("),
    _floats("rows of flat values", lambda images: images.reshape(len(images), -1), "float32 (6, "),
    _floats("a matrix", _matrix, "float32 (6, "),
    _floats("an axis too many", lambda images: images[:, None], "float32 (6, 1, "),
    _floats("sixty axes too many", lambda images: images.reshape(*images.shape, *[1] * 60), "float32 (6, "),
    _floats("floats with channels last", lambda images: images.transpose(0, 2, 3, 1), "float32 (6, "),
    _floats("one column less", lambda images: images[..., :-1], "float32 (6, "),
    _floats("one row of pixels more", lambda images: np.repeat(images, 2, axis=2), "float32 (6, "),
    _floats("no columns", lambda images: images[..., :0], "float32 (6, "),
    _floats("a channel too many", lambda images: np.repeat(images, 2, axis=1), "float32 (6, "),
    _floats("no rows of the wrong shape", lambda images: images[:0, :, 1:], "float32 (0, "),
    _floats("nothing at all", lambda _: np.empty(0, np.float32), "float32 (0,)"),
    _pixels("pixels with channels first", lambda images: images.transpose(0, 3, 1, 2), "uint8 (6, "),
    _pixels("pixels of another size", lambda images: images[:, ::2], "uint8 (6, "),
    _pixels("one image of pixels", lambda images: images[0], "uint8 ("),
    _pixels("pixels with alpha", lambda images: np.repeat(images, 4, axis=-1), "uint8 (6, "),
    _pixels("one pixel", lambda images: np.array(images.flat[0]), "uint8 ()"),
)

ENDLESS: Final = (
    *(
        Case(
            name=f"a view that pretends to be 2**{power} rows",
            build=lambda spec, _, power=power: _repeated(spec, 2**power),  # type: ignore[misc]
            error=f"expected as many rows as their answers fit in memory, got {2**power}",
        )
        for power in (44, 48, 50)
    ),
    Case(
        name="a view that pretends to be 2**50 images of pixels",
        build=lambda spec, _: np.broadcast_to(
            plain_pixels(spec, 1), (2**50, *plain_pixels(spec, 1).shape[1:])
        ),
        error=f"expected as many rows as their answers fit in memory, got {2**50}",
    ),
    Case(
        name="a view that pretends to be 2**45 rows of NaN",
        build=lambda spec, _: np.broadcast_to(np.float32(np.nan), (2**45, *spec.shape)),
        error=f"expected as many rows as their answers fit in memory, got {2**45}",
    ),
)

KINDS: Final = (*NO_ARRAYS, *DTYPES, *SHAPES, *ENDLESS)
