"""What the defence costs the ONNX files of others in time and memory, beside one pass of the network alone.

    python -m benchmarks.onnx_in.speed --work WORK [NAME …]

WORK holds the defended files that `benchmarks.onnx_in.orientation` and `benchmarks.onnx_in.photographs` left
there. Best run where nothing else runs. Writes benchmarks/results/onnx_in/speed/NAME.json, as
`nip bench --json` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import costs
from benchmarks.onnx_in.orientation import NETWORKS, RESULTS
from benchmarks.onnx_in.photographs import NETWORK
from nip_runtime.errors import ArtifactError

FOLDER = RESULTS / "speed"
NAMES = (*NETWORKS, NETWORK)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--work", type=Path, required=True, help="folder of the defended files")
    options = parser.parse_args(arguments)
    for name in options.names or NAMES:
        path = options.work / f"{name}.nip.onnx"
        if name not in NAMES:
            parser.error(f"expected one of {', '.join(NAMES)}, got {name!r}")
        try:
            costs.measure(path, FOLDER / f"{name}.json")
        except ArtifactError as error:
            parser.error(f"{error}; the benchmark that exports it leaves it there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
