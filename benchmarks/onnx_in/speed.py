"""What the defence costs the ONNX files of others in time and memory, beside one pass of the network alone.

    python -m benchmarks.onnx_in.speed --work WORK [NAME …]

WORK holds the defended files that `benchmarks.onnx_in.orientation` and `benchmarks.onnx_in.photographs` left
there. One CPU thread, engine auto, random inputs; rows are sent to the second pass by moving the screen. Best
run where nothing else runs. Writes benchmarks/results/onnx_in/speed/NAME.json, as `nip bench --json` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.onnx_in.orientation import NETWORKS, RESULTS
from benchmarks.onnx_in.photographs import NETWORK
from nip_export.support.progress import progress_lines
from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.report import BenchReport, read_report
from nip_runtime.operate.bench.run import run_bench
from nip_runtime.support.writing import write_whole

FOLDER = RESULTS / "speed"
NAMES = (*NETWORKS, NETWORK)
BATCHES = (1, 16)
SECONDS = 30.0


def measured(name: str) -> BenchReport | None:
    """What was measured of one network; None: nothing yet."""
    path = FOLDER / f"{name}.json"
    return read_report(path.read_text(encoding="utf-8")) if path.is_file() else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], default=[], metavar="NAME")
    parser.add_argument("--work", type=Path, required=True, help="folder of the defended files")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in options.names or NAMES:
        path = options.work / f"{name}.nip.onnx"
        if not path.is_file():
            parser.error(f"{path} is absent; run the benchmark that exports it first")
        plan = BenchPlan(path=path, batches=BATCHES, device="cpu", threads=1, seconds=SECONDS)
        report = replace(run_bench(plan, progress_lines(print)), file=path.name)
        write_whole(FOLDER / f"{name}.json", f"{report.to_json()}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
