"""Parquet files as data sets: encoded images, paths, arrays, numbers, names, and one error for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from nip_export.data import Columns, read_dataset
from nip_export.data.parquet import ROWS
from nip_runtime.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), np.uint8)
GREY = RGB[..., :1]
LABELS = [2, 0, 1, 1, 0]
RECORD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image[..., ::-1] if image.shape[2] == 3 else image)[1].tobytes()


def put(path: Path, images: Any, labels: Any = LABELS, **more: Any) -> Path:
    table = pa.table({"image": images, "label": labels, **more})
    pq.write_table(table, path, row_group_size=2)
    return path


def tensors(images: NDArray[Any]) -> Any:
    kind = pa.from_numpy_dtype(images.dtype)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1), kind), images[0].size)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, images.shape[1:]), flat)


def test_encoded_images_however_they_are_stored(tmp_path: Path) -> None:
    encoded = [png(image) for image in RGB]
    for row, content in enumerate(encoded):
        (tmp_path / f"{row}.png").write_bytes(content)
    records: list[dict[str, Any]] = [{"bytes": content, "path": None} for content in encoded[:3]]
    records += [{"bytes": None, "path": f"{row}.png"} for row in (3, 4)]
    for number, images in enumerate(
        (
            pa.array(encoded),
            pa.array(encoded, pa.large_binary()),
            pa.array(records, RECORD),
            [f"{row}.png" for row in range(5)],
        )
    ):
        data = read_dataset(put(tmp_path / f"{number}.parquet", images))
        np.testing.assert_array_equal(data.images, RGB)
        assert data.labels.tolist() == LABELS and data.class_names is None


def test_arrays_keep_what_they_are(tmp_path: Path) -> None:
    floats = np.random.default_rng(1).random((5, 3, 6, 4), np.float32)
    data = read_dataset(
        put(tmp_path / "a.parquet", pa.array(RGB.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8())))))
    )
    np.testing.assert_array_equal(data.images, RGB)
    for values in (RGB, floats):
        data = read_dataset(put(tmp_path / "a.parquet", tensors(values)))
        np.testing.assert_array_equal(data.images, values)
        assert data.images.dtype == values.dtype


def test_a_folder_of_files_is_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number, rows in enumerate((slice(0, 2), slice(2, 5))):
        put(tmp_path / "set" / f"part-{number}.parquet", [png(image) for image in RGB[rows]], LABELS[rows])
    told: list[tuple[str, int]] = []

    def progress(stage: str, total: int) -> Any:
        told.append((stage, total))
        return lambda done: None

    data = read_dataset(tmp_path / "set", progress=progress)
    np.testing.assert_array_equal(data.images, RGB)
    assert told == [("Read part-0.parquet", 5)]


def test_grey_images_have_one_channel_unless_the_model_takes_three(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", [png(image) for image in GREY])
    np.testing.assert_array_equal(read_dataset(path).images, GREY)
    assert read_dataset(path, channels=3).images.shape == (5, 6, 4, 3)


def test_names_are_numbered_in_sorted_order_and_digits_are_numbers(tmp_path: Path) -> None:
    encoded = [png(image) for image in RGB]
    data = read_dataset(put(tmp_path / "a.parquet", encoded, ["dog", "ant", "cat", "cat", "ant"]))
    assert data.class_names == ("ant", "cat", "dog") and data.labels.tolist() == LABELS
    coded = pa.array(["dog", "ant", "cat", "cat", "ant"]).dictionary_encode()
    assert read_dataset(put(tmp_path / "a.parquet", encoded, coded)).class_names == ("ant", "cat", "dog")
    data = read_dataset(put(tmp_path / "a.parquet", encoded, ["10", "2", "2", "10", "2"]))
    assert data.class_names is None and data.labels.tolist() == [10, 2, 2, 10, 2]


def test_names_in_the_metadata_of_hugging_face_are_taken(tmp_path: Path) -> None:
    told = b'{"info": {"features": {"label": {"names": ["x", "y", "z"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": [png(image) for image in RGB], "label": LABELS})
    pq.write_table(table.replace_schema_metadata({b"huggingface": told}), tmp_path / "a.parquet")
    assert read_dataset(tmp_path / "a.parquet").class_names == ("x", "y", "z")


def test_columns_by_other_names_and_without_labels(tmp_path: Path) -> None:
    encoded = [png(image) for image in RGB]
    table = pa.table({"img": encoded, "fine": LABELS, "coarse": [0] * 5})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = Columns(images="img", labels="fine")
    assert read_dataset(tmp_path / "a.parquet", columns=columns).labels.tolist() == LABELS
    pq.write_table(pa.table({"img": encoded}), tmp_path / "b.parquet")
    data = read_dataset(tmp_path / "b.parquet", is_labelled=False)
    assert len(data) == 5 and not data.is_labelled


def test_sizes_are_brought_together_batch_by_batch(tmp_path: Path) -> None:
    count = 2 * ROWS + 3
    images = [png(np.full((6 + row % 2, 4, 3), row, np.uint8)) for row in range(count)]
    path = put(tmp_path / "a.parquet", images, [row % 3 for row in range(count)])
    data = read_dataset(path, size=(5, 5))
    np.testing.assert_array_equal(data.images[:, 2, 2, 0], np.arange(count))
    with pytest.raises(InputError, match=r"got 6x4 in .*a.parquet\[0\] and 7x4 in .*a.parquet\[1\]"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([1.5] * 5, LABELS, "expected image bytes, struct{bytes, path}, paths, or lists of uint8 or float32"),
        (["x"] * 5, [0.5] * 5, "expected class numbers or names in column 'label' of .*, got double"),
        ([b"no image"] * 5, LABELS, r"expected an image at .*\[0\], got something OpenCV can't decode"),
        (pa.array([None] * 5, pa.binary()), LABELS, r"expected an image at .*\[0\], got null"),
        (pa.array([None] * 5, pa.string()), LABELS, r"expected an image at .*\[0\], got null"),
        (pa.array([None] * 5, RECORD), LABELS, r"expected an image at .*\[0\], got null"),
        (
            pa.array([[1, 2]] * 5, pa.list_(pa.uint8())),
            LABELS,
            r"expected nested lists or a tensor at .*\[0\]",
        ),
        ([png(RGB[0])] * 5, [0, None, 1, 1, 1], r"expected a label at .*\[1\], got null"),
        ([png(RGB[0])] * 5, [0, -1, 1, 1, 1], "expected labels from 0, got -1"),
    ],
    ids=[
        "images",
        "labels",
        "no image",
        "null",
        "null path",
        "null record",
        "flat",
        "null label",
        "negative",
    ],
)
def test_one_clear_error(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    path = put(tmp_path / "a.parquet", images, labels)
    with pytest.raises(InputError, match=message):
        read_dataset(path)


def test_missing_columns_and_damaged_files(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", [png(image) for image in RGB])
    with pytest.raises(InputError, match=r"expected a column 'class' .*, got image, label; .*--label-column"):
        read_dataset(path, columns=Columns(labels="class"))
    with pytest.raises(InputError, match=r"expected a column 'x' in .*; name the one .* with --column"):
        read_dataset(path, columns=Columns(images="x"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"expected a Parquet file at .*a\.parquet"):
        read_dataset(path)
