"""Time and memory of a file for ImageNet, beside its own network.

    python -m benchmarks.imagenet.speed --file F

F is a file that `benchmarks.imagenet.export` wrote. For a quiet machine. Writes
benchmarks/results/imagenet-speed.json, as `nip bench --json` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import costs
from benchmarks.imagenet.run import RESULTS
from nip_runtime.errors import ArtifactError

SPEED = RESULTS.parents[1] / "imagenet-speed.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, required=True, help="defended file")
    file = parser.parse_args(arguments).file
    try:
        costs.measure(file, SPEED)
    except ArtifactError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
