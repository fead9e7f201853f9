"""Where the time goes that ``predict`` adds: to code, or to waiting for memory.

Run as ``python -m benchmarks.speed.cold FILE``. The same calls are timed twice: around real runs, which
displace all else from the caches, and around a run that hands out kept answers at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.speed.networks import Images
from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.arrays import check_values
from nip_runtime.operate.bench.overhead import measure_overhead
from nip_runtime.operate.bench.rounds import WARM_UP, Spread, spread
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.providers import SessionSettings
from nip_runtime.session import DefendedSession

ROUNDS: Final = 150


class _Kept:
    """Stands in for an onnxruntime session, and answers what it answered once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._answers: list[Any] | None = None

    def run(self, *given: Any) -> list[Any]:
        """The answers of the first run."""
        if self._answers is None:
            self._answers = self._session.run(*given)
        return list(self._answers)


def image(spec: InputSpec) -> Images:
    """One row (1, *shape) of noise within the bounds."""
    low, high = spec.bounds
    drawn = np.random.default_rng(0).random((1, *spec.shape), np.float32)
    drawn *= np.float32(high - low)
    drawn += np.float32(low)
    return drawn.clip(low, high, out=drawn)


def microseconds(case: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> Spread:
    """Time of one call, with an untimed call before each."""
    times_s = []
    for _ in range(WARM_UP + ROUNDS):
        before()
        began = time.perf_counter()
        case()
        times_s.append(time.perf_counter() - began)
    return spread(1e6 * np.array(times_s[WARM_UP:]))


def main(arguments: list[str] | None = None) -> int:
    """Print four times in µs, each as median [95 % interval]."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a defended file")
    path: Path = parser.parse_args(arguments).file
    try:
        read_artifact(path)
    except ArtifactError as error:
        parser.error(str(error))
    with DefendedSession(path, device="cpu", engine=EngineKind.FUSED, threads=1) as session:
        spec = session.manifest.input
        row = image(spec)
        engine: Any = session._require_open().engine

        def sweep() -> None:
            check_values(row, spec)

        found = {
            "sweep over the values, right after a pass": microseconds(
                sweep, before=lambda: session.predict(row)
            ),
            "sweep over the values, in the caches": microseconds(sweep),
        }
        engine._session = _Kept(engine._session)
        found["predict adds, all in the caches"] = microseconds(lambda: session.predict(row))
    found["predict adds to a run"] = measure_overhead(
        path, row, settings=SessionSettings(threads=1), rounds=ROUNDS, progress=lambda *_: lambda _: None
    ).added_us
    for what, time_us in found.items():
        print(f"{what}: {time_us.median:.0f} [{time_us.low:.0f}, {time_us.high:.0f}] µs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
