"""One standard ONNX file in every engine at hand: the same labels, flags and logits?

    python -m benchmarks.engines.run [--engines OpenVINO …] [--folder DIR] [--rounds 15] [--save]

Installs each engine in a folder of its own (PyPI through pip, npm, and Chromium from the path), exports the
tests' networks, and runs every file at batch 1, 3 and 17. The exit code is 1 if an engine differs on a file
that it must run, or can't be installed or started.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engines.case import Case
from benchmarks.engines.engines import ENGINES, Asked, Engine, install
from benchmarks.engines.material import everything
from benchmarks.engines.results import EngineResult, judged, result, save


def measure(engine: Engine, cases: Sequence[Case], folder: Path, *, rounds: int) -> EngineResult:
    """Install one engine and run all files in it."""
    asked = Asked(engine, install(engine, folder))
    files = []
    for case, answered in asked.answers(cases, rounds=rounds):
        found = judged(case, answered)
        files.append(found)
        print(f"  {case.name}: {found.problem or 'the same'}", flush=True)
    return result(engine.name, asked.version, engine.packages, files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [engine.name for engine in ENGINES]
    parser.add_argument(
        "--engines", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--folder", type=Path, help="keeps engines and files (default: thrown away)")
    parser.add_argument("--rounds", type=int, default=15, help="timings of each file (default 15; 0: none)")
    parser.add_argument("--save", action="store_true", help="write results/engines/*.json")
    asked = parser.parse_args(arguments)
    differs = False
    with tempfile.TemporaryDirectory() as thrown_away:
        folder: Path = asked.folder or Path(thrown_away)
        cases = list(everything(folder / "files"))
        for engine in ENGINES:
            if engine.name not in asked.engines:
                continue
            print(engine.name, flush=True)
            try:
                found = measure(engine, cases, folder / "engines", rounds=asked.rounds)
            except RuntimeError as missing:
                print(f"  not run: {missing}", flush=True)
                differs = True
                continue
            differs |= any(file.problem for file in found.files) and not engine.partial
            if asked.save:
                save(found, engine.slug)
    return int(differs)


if __name__ == "__main__":
    raise SystemExit(main())
