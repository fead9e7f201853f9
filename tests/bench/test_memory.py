"""Memory and opening time come from fresh processes; what a file holds shows in what they add."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nip_runtime.errors import InputError
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.operate.bench.memory import Footprint, Opener, Subject, footprints, resident_after_load
from nip_runtime.run.memory import resident_bytes

MIB = 1 << 20


def _product(path: Path, side: int) -> Path:
    """(N, side) times side × side random weights."""
    weights = np.random.default_rng(0).random((side, side), np.float32)
    path.write_bytes(
        encode_model(
            nodes=[encode_node("MatMul", ["x", "w"], ["y"])],
            inputs=[encode_value("x", "float32", ["N", side])],
            outputs=[encode_value("y", "float32", ["N", side])],
            initializers=[encode_tensor("w", weights)],
        )
    )
    return path


def test_weights_show_in_the_memory_that_opening_adds(tmp_path: Path) -> None:
    found = footprints(
        {
            "small": Subject(path=_product(tmp_path / "small.onnx", 8), opener=Opener.PLAIN, threads=1),
            "large": Subject(path=_product(tmp_path / "large.onnx", 3072), opener=Opener.PLAIN, threads=1),
        },
        repeats=1,
    )
    assert list(found) == ["small", "large"]
    assert found["small"].added_bytes < 8 * MIB
    assert found["large"].added_bytes > 36 * MIB  # 3072² float32
    assert found["large"].added_after_run_bytes >= found["large"].added_bytes - MIB
    assert found["large"].resident_bytes > found["large"].added_bytes


def test_a_defended_file_is_opened_by_each_engine_and_repeats_are_kept(guarded: Path) -> None:
    seen: list[int] = []
    subjects = {
        str(opener): Subject(path=guarded, opener=opener, threads=1, batch=2)
        for opener in (Opener.AUTO, Opener.FUSED)
    }
    found = footprints(subjects, repeats=1, advance=seen.append)
    assert seen == [1] * 2
    for footprint in found.values():
        assert len(footprint.opening_s) == 1
        assert footprint.opening_s[0] > 0


def test_one_file_can_be_measured_alone(guarded: Path) -> None:
    assert len(resident_after_load(guarded, Opener.FUSED, threads=1, repeats=2).opening_s) == 2


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    plain = _product(tmp_path / "plain.onnx", 8)
    with pytest.raises(
        InputError, match=r"a fresh process can open.*expected a defended file, got a plain ONNX model"
    ):
        resident_after_load(plain, Opener.AUTO, threads=1, repeats=1)
    with pytest.raises(InputError, match="at least 1 repeat, got 0"):
        footprints({}, repeats=0)
    with pytest.raises(ValueError, match="batch: expected at least 1, got 0"):
        Subject(path=plain, opener=Opener.PLAIN, batch=0)
    with pytest.raises(ValueError, match="opening_s: expected positive times"):
        Footprint(added_bytes=0, resident_bytes=0, added_after_run_bytes=0, opening_s=())


def test_a_processs_own_memory_grows_with_what_it_holds() -> None:
    before = resident_bytes()
    held = np.ones(64 * MIB // 8)
    assert resident_bytes() - before > 48 * MIB
    del held
