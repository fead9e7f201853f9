from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.hardening import bulk_runs as runs

ROWS = 2000
OPTIONS = ("--shard-rows", "100", "--logits")
SHARDS = 20


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, arrays and Parquet, and broken rows among them."""
    return runs.write_inputs(tmp_path_factory.mktemp("bulk") / "in", rows=ROWS)


@pytest.fixture(scope="session")
def calm(inputs: Path) -> Path:
    """The output of a run that nobody disturbed."""
    out = inputs.parent / "calm"
    code, output = runs.run(out, inputs, options=(*OPTIONS, "--workers", "1"))
    assert code == 1, output
    return out


@pytest.fixture(scope="session")
def wanted(calm: Path) -> pa.Table:
    return runs.read_rows(calm)
