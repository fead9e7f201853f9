"""Every wrong or odd argument of ``predict`` has a defined answer, in both ways to treat bad rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.session import DefendedSession
from tests.abuse.inputs.case import MAX_BATCH, Case, complaint
from tests.abuse.inputs.kinds import KINDS
from tests.abuse.inputs.rows import ROWS

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(scope="module", params=["guarded", "always", "detect"])
def session(request: pytest.FixtureRequest) -> Iterator[DefendedSession]:
    path = GOLDENS / f"{request.param}.onnx"
    with DefendedSession(path, device="cpu", threads=1, max_batch=MAX_BATCH) as session:
        yield session


@pytest.mark.parametrize("case", [*KINDS, *ROWS], ids=lambda case: case.name)
def test_the_answer_is_the_defined_one(session: DefendedSession, case: Case, tmp_path: Path) -> None:
    if case.module:
        pytest.importorskip(case.module)
    assert complaint(session, case, tmp_path) is None


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_whatever_numpy_is_told_to_raise(session: DefendedSession, case: Case, tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        assert complaint(session, case, tmp_path) is None


def test_names_are_unique() -> None:
    names = [case.name for case in (*KINDS, *ROWS)]
    assert len(names) == len(set(names))
