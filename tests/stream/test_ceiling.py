from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file import names
from nip_runtime.operate.memory_limit import Opened, all_rows_twice, rows_within, search
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.providers import Device, DeviceKind, open_session

GOLDENS = Path(__file__).parents[1] / "goldens"
MIB = 1 << 20
SERVE = """
import json, sys
import numpy as np
from nip_runtime.run.memory import peak_bytes
from nip_runtime.session import DefendedSession
session = DefendedSession(sys.argv[1], device="cpu", threads=1, max_batch=1 << 20)
rows, rng = int(sys.argv[2]), np.random.default_rng(0)
for share in (1, 0.5, 0.8, 0.3, 1):
    session.predict(rng.integers(0, 256, (max(1, int(rows * share)), 28, 28), np.uint8))
print(json.dumps([peak_bytes()]))
"""
SHRINK = """
import json, sys
import numpy as np
from nip_runtime.run.memory import resident_bytes
from nip_runtime.session import DefendedSession
session = DefendedSession(sys.argv[1], device="cpu", engine=sys.argv[2], threads=1, max_batch=1 << 20)
with np.load(sys.argv[1].replace(".onnx", ".npz")) as stored:
    images = stored["images"]
def run(rows):
    session.predict(images[np.arange(rows) % len(images)])
    return resident_bytes()
found = [run(1), max(run(rows) for rows in (3000, 900, 2200, 8000, 5000)), run(1)]
session.release_memory()
print(json.dumps([*found, resident_bytes(), run(1)]))
"""


def in_a_fresh_process(program: str, *arguments: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    answer: list[int] = json.loads(done.stdout)
    return answer


def test_a_process_that_runs_so_many_rows_stays_below_the_ceiling() -> None:
    path = GOLDENS / "guarded.onnx"
    (alone,) = in_a_fresh_process(SERVE, str(path), "1")
    ceiling = alone + 64 * MIB
    rows = rows_within(path, ceiling, threads=1, most=1 << 15)
    assert rows > 100
    (served,) = in_a_fresh_process(SERVE, str(path), str(rows))
    assert alone + 16 * MIB < served < ceiling + 16 * MIB  # used, and kept but for what differs by run


def test_a_ceiling_below_one_row_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^expected a ceiling of at least \d+ MiB, what one row takes, got 8"
    ):
        rows_within(GOLDENS / "guarded.onnx", 8 * MIB, threads=1)


def test_a_file_that_is_not_defended_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError):
        rows_within(tmp_path / "model.onnx", 1 << 30)


def test_what_goes_wrong_elsewhere_is_said_here() -> None:
    with pytest.raises(InputError, match="got expected threads of at least 1, got -1; pass a whole"):
        rows_within(GOLDENS / "guarded.onnx", 1 << 30, threads=-1)


def test_every_row_of_the_measured_file_takes_the_second_pass(images: NDArray[np.uint8]) -> None:
    path = GOLDENS / "guarded.onnx"
    floats = (images[:, None] / 255).astype(np.float32)

    def screened(content: bytes) -> NDArray[np.bool_]:
        part = Sliceable(content).part(["input"], [names.SCREENED])
        (rows,) = open_session(part, Device(DeviceKind.CPU), threads=1).run(None, {"input": floats})
        found: NDArray[np.bool_] = rows
        return found

    assert not screened(path.read_bytes()).all()
    assert screened(all_rows_twice(path)).all()


def test_a_file_without_a_screen_is_measured_as_it_is() -> None:
    path = GOLDENS / "always.onnx"
    assert all_rows_twice(path) == path.read_bytes()


@pytest.mark.parametrize("engine", ["fused", "gated"])
def test_released_memory_is_what_mixed_batches_took(engine: str) -> None:
    fresh, most, after, shrunk, later = in_a_fresh_process(SHRINK, str(GOLDENS / "guarded.onnx"), engine)
    assert most - fresh > 40 * MIB
    assert after - fresh > 0.5 * (most - fresh)  # without shrinking it stays
    assert shrunk - fresh < 0.25 * (most - fresh)
    assert later - fresh < 0.25 * (most - fresh)


@given(
    opened=st.integers(10, 200),
    per_row=st.integers(1, 50),
    room=st.integers(50, 5000),
    mixing=st.floats(1, 3),
    most=st.integers(1, 500),
)
def test_the_search_finds_nearly_all_that_fits(
    opened: int, per_row: int, room: int, mixing: float, most: int
) -> None:
    """Memory that grows evenly with the largest batch, and by a factor once sizes are mixed."""
    peaks: list[int] = []

    @contextmanager
    def open_it() -> Iterator[Opened]:
        sizes: list[int] = []

        def run(rows: int) -> int:
            is_mixed = any(earlier > rows for earlier in sizes)
            sizes.append(rows)
            peaks.append(opened + int(max(sizes) * per_row * (mixing if is_mixed else 1)))
            return peaks[-1]

        yield Opened(opened, run)

    ceiling = opened + room
    fits = min(most, int(room / (per_row * mixing)))
    if room < per_row:
        with pytest.raises(InputError, match="what one row takes"):
            search(open_it, ceiling, most=most)
        return
    found = search(open_it, ceiling, most=most)
    assert 0.8 * fits - 1 <= found <= max(1, fits + 1)
    assert max(peaks) <= opened + room * max(1, mixing)
