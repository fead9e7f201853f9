"""The matrix of engines asks a real tritonserver; see docs/deploy.md for its other engines."""

from __future__ import annotations

import pytest

from benchmarks.engines.engines import ENGINES, Asked, Host
from benchmarks.engines.job import TIMED
from benchmarks.engines.material import goldens
from benchmarks.engines.results import judged
from benchmarks.hardening.serving.environment import Environment

pytestmark = pytest.mark.slow


def test_files_answer_alike_through_a_server(triton: Environment) -> None:
    """To the bit, for what runs them is onnxruntime; more than the server keeps loaded at a time."""
    (engine,) = (engine for engine in ENGINES if engine.host is Host.TRITON)
    cases = list(goldens())[:3]
    asked = Asked(engine, triton.python)
    answers = list(asked.answers(cases, rounds=1))
    assert {case.name: judged(case, answered).problem for case, answered in answers} == {
        case.name: "" for case in cases
    }
    for _, answered in answers:
        assert answered.pairs.keys() == set(TIMED)
    assert asked.version == "2.51.0"
