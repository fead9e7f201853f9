"""What a model holds in the memory of a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MEASURE = """
import ctypes, json, sys
import onnxruntime as ort, psutil
# What the allocator keeps of freed memory, and gives back when asked, is not held by the model.
trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
options = ort.SessionOptions()
options.intra_op_num_threads = 1
process = psutil.Process()
before = process.memory_info().rss
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
if trim is not None:
    trim(0)
after = process.memory_info().rss
print(json.dumps({"added": after - before, "resident": after}))
"""


def memory_after_load(path: Path) -> dict[str, int]:
    """Bytes that a fresh process holds after opening a model, and how many of them opening it added.

    The least of three: what is freed late, by other threads, differs from run to run.
    """
    runs: list[dict[str, int]] = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
        )
        runs.append(json.loads(done.stdout))
    return {name: min(run[name] for run in runs) for name in runs[0]}
