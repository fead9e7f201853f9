from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.operate.bulk.columns import Form, find_column, to_input

GUARDED = Path(__file__).parents[1] / "goldens" / "guarded.onnx"
IMAGE = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()
FLOATS = (IMAGE / np.float32(255)).astype(np.float32)


@pytest.fixture(scope="module")
def spec() -> InputSpec:
    return read_artifact(GUARDED).manifest.input


def read(values: Any, spec: InputSpec, folder: Path = Path("/nowhere")) -> Any:
    column = find_column(pa.schema([("image", values.type)]), "", origin="x.parquet")
    return to_input(values[0], column.form, spec, origin="x.parquet[0]", folder=folder)


RECORD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FIXED = pa.list_(pa.list_(pa.list_(pa.float32(), 28), 28), 1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([PNG]),
        pa.array([PNG], pa.large_binary()),
        pa.array([{"bytes": PNG, "path": None}], RECORD),
        pa.array([{"path": "gone.png", "bytes": PNG}], RECORD),
        pa.array([IMAGE.ravel()], pa.list_(pa.uint8())),
        pa.array([IMAGE.tolist()], pa.large_list(pa.list_(pa.uint8()))),
    ],
)
def test_pixels_come_out_as_they_went_in(values: Any, spec: InputSpec) -> None:
    image = read(values, spec)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.reshape(28, 28), IMAGE)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([FLOATS.ravel()], pa.list_(pa.float32())),
        pa.array([FLOATS.ravel()], pa.list_(pa.float32(), 784)),
        pa.array([[FLOATS.tolist()]], FIXED),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack([FLOATS, FLOATS])[:, None]),
    ],
)
def test_floats_come_out_as_they_went_in(values: Any, spec: InputSpec) -> None:
    image = read(values, spec)
    assert image.shape == (1, 1, 28, 28)
    np.testing.assert_array_equal(image[0, 0], FLOATS)


def test_paths_start_from_the_folder_of_the_file(spec: InputSpec, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    for values in (pa.array(["a.png"]), pa.array([{"bytes": None, "path": "a.png"}], RECORD)):
        np.testing.assert_array_equal(read(values, spec, tmp_path)[0, :, :, 0], IMAGE)


def test_images_are_resized_as_the_manifest_says(spec: InputSpec) -> None:
    large = cv2.imencode(".png", np.kron(IMAGE, np.ones((2, 2), np.uint8)))[1].tobytes()
    np.testing.assert_array_equal(read(pa.array([large]), spec)[0, :, :, 0], IMAGE)
    with pytest.raises(InputError, match="pins no resize"):
        read(pa.array([large]), replace(spec, resize=None))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pa.array([None], pa.binary()), r"an image at x\.parquet\[0\], got null"),
        (pa.array([b""]), r"an image at x\.parquet\[0\]"),
        (pa.array([b"GIF89a"]), "can't decode"),
        (pa.array(["gone.png"]), "gone.png"),
        (pa.array([{"bytes": None, "path": None}], RECORD), "got null"),
        (pa.array([None], RECORD), "got null"),
        (pa.array([[0.5]], pa.list_(pa.float32())), "784 values"),
        (pa.array([[1, None]], pa.list_(pa.uint8())), "1 nulls"),
    ],
)
def test_a_bad_value_says_why(values: Any, says: str, spec: InputSpec) -> None:
    with pytest.raises(InputError, match=says):
        read(values, spec)


def test_a_path_names_one_image_though_it_be_an_array(spec: InputSpec, tmp_path: Path) -> None:
    for rows in (0, 1, 2):
        np.save(tmp_path / f"{rows}.npy", np.stack([IMAGE] * 3)[:rows])
    np.testing.assert_array_equal(read(pa.array(["1.npy"]), spec, tmp_path)[0], IMAGE)
    for values in (pa.array(["2.npy"]), pa.array([{"bytes": None, "path": "0.npy"}], RECORD)):
        with pytest.raises(InputError, match=r"one item in .*\.npy, got [02]"):
            read(values, spec, tmp_path)


@pytest.mark.parametrize(
    ("shape", "is_right"), [((3, 4, 5), True), ((60,), True), ((4, 5, 3), False), ((12, 5), False)]
)
def test_lists_nested_in_another_order_are_another_image(
    shape: tuple[int, ...], is_right: bool, spec: InputSpec
) -> None:
    colour = replace(spec, shape=(3, 4, 5), mean=None, std=None)
    kind = pa.float32()
    for _ in shape:
        kind = pa.list_(kind)
    numbers = np.linspace(0, 1, 60, dtype=np.float32)
    values = pa.array([numbers.reshape(shape).tolist()], kind)
    if is_right:
        np.testing.assert_array_equal(read(values, colour).ravel(), numbers)
    else:
        with pytest.raises(InputError, match=r"60 values, flat or \(3, 4, 5\)"):
            read(values, colour)


def test_ragged_lists_are_no_image(spec: InputSpec) -> None:
    ragged = [[*IMAGE[:27].tolist(), [1], [2] * 27]]
    with pytest.raises(InputError, match="lists of one length"):
        read(pa.array(ragged, pa.list_(pa.list_(pa.uint8()))), spec)


def test_tensors_have_the_shape_they_state(spec: InputSpec) -> None:
    colour = replace(spec, shape=(3, 4, 5), mean=None, std=None)
    numbers = np.linspace(0, 1, 120, dtype=np.float32)
    for shape, says in (((3, 4, 5), ""), ((4, 5, 3), "flat or")):
        values = pa.FixedShapeTensorArray.from_numpy_ndarray(numbers.reshape(2, *shape))
        if says:
            with pytest.raises(InputError, match=says):
                read(values, colour)
        else:
            np.testing.assert_array_equal(read(values, colour).ravel(), numbers[:60])
    swapped = pa.fixed_shape_tensor(pa.float32(), (3, 4, 5), permutation=[0, 2, 1])
    storage = pa.array([numbers[:60]], pa.list_(pa.float32(), 60))
    with pytest.raises(InputError, match="axes in order"):
        read(pa.ExtensionArray.from_storage(swapped, storage), colour)


def test_bytes_do_not_fit_a_model_without_images(spec: InputSpec) -> None:
    other = replace(spec, layout=Layout.ANY)
    with pytest.raises(InputError, match="takes no images"):
        read(pa.array([PNG]), other)


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.float32(),
        pa.list_(pa.float64()),
        pa.struct([("path", pa.string())]),
        pa.list_(pa.string()),
    ],
)
def test_columns_of_other_types_are_refused(kind: Any) -> None:
    with pytest.raises(InputError, match="convert the column"):
        find_column(pa.schema([("image", kind)]), "", origin="x")


def test_the_column_is_found_or_asked_for() -> None:
    both = pa.schema([("image", pa.binary()), ("img", pa.binary())])
    assert find_column(both, "", origin="x").name == "image"
    assert find_column(both, "img", origin="x").name == "img"
    assert find_column(pa.schema([("img", pa.string())]), "", origin="x").form is Form.PATH
    for names, wanted in ((["a", "b"], "got a, b; name"), ([], "got no columns")):
        with pytest.raises(InputError, match=wanted):
            find_column(pa.schema([(name, pa.binary()) for name in names]), "", origin="x")
