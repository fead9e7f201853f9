"""What DefendedSession.predict adds to onnxruntime's own run of one row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nip_runtime.operate.bench.report import Overhead
from nip_runtime.operate.bench.rounds import WARM_UP, paired, rounds_within, spread
from nip_runtime.operate.bench.shares import Inputs
from nip_runtime.operate.bench.timing import Progress
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.providers import SessionSettings
from nip_runtime.session import DefendedSession

LEAST_CALLS: Final = 20
MOST_CALLS: Final = 500
_BUDGET_S: Final = 3.0


class Clocked:
    """Stands in for an onnxruntime session and notes how long its runs take.

    Two calls of a large network differ by more than predict adds to either; one call taken apart does not.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.runs_s: list[float] = []

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Any], options: Any = None) -> Any:
        """Run the session."""
        start = time.perf_counter()
        results = self._session.run(outputs, inputs, options)
        self.runs_s.append(time.perf_counter() - start)
        return results


def measure_overhead(
    path: Path,
    row: Inputs,
    *,
    settings: SessionSettings,
    rounds: int | None,
    progress: Progress,
) -> Overhead:
    """Call predict on one row, in the fused engine on the CPU: it consists of a single run.

    Args:
        path: the defended file.
        row: (1, *shape) float32.
        settings: of the session.
        rounds: calls that count; None for as many as some seconds allow.
        progress: who waits.
    """
    with DefendedSession(path, device="cpu", engine=EngineKind.FUSED, settings=settings) as session:
        clock = _clocked(session)
        cases = {"predict": lambda: session.predict(row)}
        warm = paired(cases, rounds=WARM_UP, warmup=0)["predict"]
        calls = rounds or rounds_within(_BUDGET_S, float(warm.min()), least=LEAST_CALLS, most=MOST_CALLS)
        clock.runs_s.clear()
        whole = paired(cases, rounds=calls, warmup=0, advance=progress("timing predict", calls))["predict"]
        added = whole - np.array(clock.runs_s)
    return Overhead(added_us=spread(added * 1e6), predict_us=spread(whole * 1e6), rounds=calls)


def _clocked(session: DefendedSession) -> Clocked:
    """Put a clock around the onnxruntime session deep inside."""
    engine: Any = session._require_open().engine
    clock = Clocked(engine._session)
    engine._session = clock
    return clock
