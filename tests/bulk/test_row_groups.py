from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nip_runtime.operate.bulk import row_groups
from nip_runtime.operate.bulk.plan import Kind, Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": range(100), "other": range(100)}), path, row_group_size=50)
    return Source(str(path), Kind.PARQUET, 100, path.stat().st_size, path.stat().st_mtime_ns)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The groups that were opened, in order."""
    found: list[int] = []
    original = row_groups.Reader.__init__

    def counted(self: row_groups.Reader, source: Source, group: int, column: str, block: int) -> None:
        found.append(group)
        original(self, source, group, column, block)

    monkeypatch.setattr(row_groups.Reader, "__init__", counted)
    row_groups.forget()
    return found


def test_any_order_gives_the_right_values(source: Source) -> None:
    rng = np.random.default_rng(0)
    for index in rng.integers(0, 100, 200).tolist():
        group, within = divmod(index, 50)
        assert row_groups.value_at(source, group, "image", within, 8).as_py() == index


def test_a_column_is_found_by_its_name_though_others_start_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image.x": [1, 2], "image": [3, 4]}), path)
    source = Source(str(path), Kind.PARQUET, 2, path.stat().st_size, path.stat().st_mtime_ns)
    assert row_groups.value_at(source, 0, "image", 1, 8).as_py() == 4


def test_reading_forward_with_gaps_opens_a_group_once(source: Source, opened: list[int]) -> None:
    for index in (0, 1, 2, 20, 21, 47):
        assert row_groups.value_at(source, 0, "image", index, 8).as_py() == index
    assert opened == [0]
    assert row_groups.value_at(source, 0, "image", 3, 8).as_py() == 3
    assert opened == [0, 0]
    assert row_groups.value_at(source, 1, "image", 3, 8).as_py() == 53
    assert opened == [0, 0, 1]


def test_a_group_that_ends_early_is_an_error_and_forgotten(source: Source, opened: list[int]) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="fewer rows"):
            row_groups.value_at(source, 0, "image", 50, 8)
    assert opened == [0, 0]
    row_groups.forget()
    row_groups.forget()
