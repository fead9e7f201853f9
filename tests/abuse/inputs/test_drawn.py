"""The small form of what `python -m benchmarks.hardening.inputs` draws by the thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from nip_runtime.session import DefendedSession
from tests.abuse.inputs.case import MAX_BATCH
from tests.abuse.inputs.drawn import array_complaint, file_complaint

pytest.importorskip("cv2")
MODEL = Path(__file__).parents[2] / "goldens" / "guarded.onnx"


def test_drawn_arrays() -> None:
    with DefendedSession(MODEL, device="cpu", threads=1, max_batch=MAX_BATCH) as session:
        complaints = {number: array_complaint(session, number) for number in range(250)}
    assert {number: said for number, said in complaints.items() if said is not None} == {}


def test_drawn_files(tmp_path: Path) -> None:
    complaints = {number: file_complaint(number, tmp_path) for number in range(400)}
    assert {number: said for number, said in complaints.items() if said is not None} == {}
