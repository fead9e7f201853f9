from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nip_runtime.errors import InputError
from nip_runtime.inputs.images import read_array
from nip_runtime.operate.bulk.plan import Kind
from nip_runtime.operate.bulk.sources import changed, find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "in"
    (inside / "deep").mkdir(parents=True)
    (inside / "b.png").write_bytes(b"x")
    (inside / "deep" / "a.JPG").write_bytes(b"x")
    (inside / "notes.txt").write_bytes(b"x")
    (inside / ".thumbnails").mkdir()
    for hidden in ("._b.png", ".thumbnails/b.png"):
        (inside / hidden).write_bytes(b"x")
    np.save(inside / "c.npy", np.zeros((3, 4, 4), np.uint8))
    np.savez(inside / "d.npz", images=np.zeros((2, 4, 4), np.uint8))
    pq.write_table(pa.table({"image": [b"x"] * 5, "other": range(5)}), inside / "e.parquet")
    return inside


def names(folder: Path, *inputs: Path, column: str = "") -> list[tuple[str, str, int]]:
    found = find_sources(map(str, inputs or (folder,)), column=column, out=folder.parent / "out")
    return [(str(Path(s.path).relative_to(folder)), str(s.kind), s.rows) for s in found]


def test_a_folder_is_searched_in_sorted_order(folder: Path) -> None:
    assert names(folder) == [
        ("b.png", Kind.IMAGE, 1),
        ("c.npy", Kind.ARRAY, 3),
        ("d.npz", Kind.ARRAY, 2),
        ("deep/a.JPG", Kind.IMAGE, 1),
        ("e.parquet", Kind.PARQUET, 5),
    ]


def test_files_stay_in_the_order_they_are_named_in(folder: Path) -> None:
    assert [name for name, _, _ in names(folder, folder / "d.npz", folder / "b.png")] == ["d.npz", "b.png"]


def test_a_file_named_outright_is_an_image_whatever_its_suffix(folder: Path) -> None:
    assert names(folder, folder / "notes.txt") == [("notes.txt", Kind.IMAGE, 1)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.parquet", b"PAR1 but no more", "expected a Parquet file at"),
        ("x.parquet", b"", "expected a Parquet file at"),
        ("x.npy", b"no array", "expected a plain numpy array at"),
        ("x.npz", b"PK\x03\x04", "expected a plain numpy array at"),
    ],
)
def test_a_damaged_file_is_one_row_with_its_problem(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (source,) = find_sources([str(tmp_path / name)], column="", out=tmp_path / "out")
    assert source.rows == 1
    assert says in source.problem
    assert str(tmp_path / name) in source.problem


def test_a_number_has_no_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float32(1))
    (source,) = find_sources([str(tmp_path)], column="", out=Path("/out"))
    assert "got a single number" in source.problem


def test_a_zip_that_is_named_npy_is_read_as_what_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    (source,) = find_sources([str(tmp_path)], column="", out=Path("/out"))
    assert (source.rows, source.problem) == (2, "")


@pytest.mark.parametrize(
    "shape", ["(99999999999999999999999, 1)", "(1, ", "(-1, 4)", "(1000000000000, 0)", "(1000000000000, 4)"]
)
def test_a_header_can_not_state_what_the_file_does_not_hold(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "x.npy").write_bytes(content)
    (source,) = find_sources([str(tmp_path)], column="", out=Path("/out"))
    assert source.rows == 1
    assert str(tmp_path / "x.npy") in source.problem


def test_an_npz_is_counted_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.random.default_rng(0).integers(0, 256, (9, 64, 64), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF  # whoever reads the values sees it
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_array(path)
    (source,) = find_sources([str(path)], column="", out=Path("/out"))
    assert (source.rows, source.problem) == (9, "")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    both = pa.Table.from_arrays([pa.array([b"x"]), pa.array([b"y"])], names=["image", "image"])
    pq.write_table(both, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"one column 'image' in .*x\.parquet, got 2"):
        find_sources([str(tmp_path)], column="", out=Path("/out"))


def test_a_parquet_file_whose_footer_contradicts_itself_is_a_row_with_its_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": pa.array([b""] * 77)}), path)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(b"\x16\x9a\x01", footer)  # Thrift: 77 as an i64; that of the file is the first
    path.write_bytes(content[:place] + b"\x16\x9c\x01" + content[place + 3 :])
    (source,) = find_sources([str(path)], column="", out=Path("/out"))
    assert (source.rows, "whose groups have 77" in source.problem) == (1, True), source


def test_paths_that_can_not_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got File name too long; check the path"):
        find_sources(["a" * 5000], column="", out=tmp_path / "out")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match="outside of the input folder"):
        find_sources([str(tmp_path)], column="", out=tmp_path / "loop")


def test_broken_links_and_pipes_are_rows_with_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "b.png")
    gone, pipe = find_sources([str(tmp_path)], column="", out=Path("/out"))
    assert "No such file" in gone.problem
    assert "got something else" in pipe.problem


def test_what_changed_since_is_noticed(folder: Path) -> None:
    (source,) = find_sources([str(folder / "c.npy")], column="", out=Path("/out"))
    assert changed(source) == ""
    os.utime(folder / "c.npy", ns=(1, 1))
    assert "got another size or time of change" in changed(source)
    (folder / "c.npy").unlink()
    assert "got No such file or directory" in changed(source)


def test_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4), np.uint8))
    for path, got in ((tmp_path / "empty", "got none"), (tmp_path / "none.npy", "got none in 1 files")):
        with pytest.raises(InputError, match=got):
            find_sources([str(path)], column="", out=tmp_path / "out")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone, got nothing there; check the path"):
        find_sources([str(tmp_path / "gone")], column="", out=tmp_path / "out")


def test_a_file_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"b\.png twice"):
        names(folder, folder, folder / "b.png")


def test_an_output_folder_inside_the_input_is_refused(folder: Path) -> None:
    for out in (folder, folder / "out", folder / "deep" / ".." / "out"):
        with pytest.raises(InputError, match="outside of the input folder"):
            find_sources([str(folder)], column="", out=out)


def test_a_missing_column_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(InputError, match=r"a column 'pixels' in .*e\.parquet, got image, other"):
        names(folder, column="pixels")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_not_left_out_silently(folder: Path) -> None:
    (folder / "deep").chmod(0)
    try:
        with pytest.raises(InputError, match="to read the folder"):
            names(folder)
    finally:
        (folder / "deep").chmod(0o755)
