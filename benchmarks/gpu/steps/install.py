"""Joins, checks and unpacks the parts; nothing of the machine's own Python is touched."""

from __future__ import annotations

import shutil
import subprocess
import sys

from benchmarks.gpu.material import SITE_FOLDER
from benchmarks.gpu.parts import unpack
from benchmarks.gpu.plan import Step
from benchmarks.gpu.step import environment, task

WHERE = "import onnxruntime; print(onnxruntime.__file__); print(onnxruntime.__version__)"


def main() -> int:
    told = task(Step.INSTALL)
    shutil.rmtree(told.work, ignore_errors=True)
    told.work.mkdir(parents=True)
    manifest = unpack(told.parts, told.work)
    print(f"unpacked {len(manifest.files)} files from {len(manifest.parts)} parts")
    done = subprocess.run(
        [sys.executable, "-c", WHERE], env=environment(told.work), capture_output=True, text=True, check=True
    )
    where, version = done.stdout.split("\n")[:2]
    if not where.startswith(str(told.work / SITE_FOLDER)):
        print(f"expected onnxruntime from {told.work / SITE_FOLDER}, got {where}", file=sys.stderr)
        return 1
    print(f"onnxruntime {version} at {where}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
