"""What `nip export` itself takes for 1,000 photographs: processor time, the clock, memory.

    python -m benchmarks.imagenet.thousand --data DATA --work WORK

The 700 photographs as they are stored, and 300 of them mirrored, one folder per class, read and cropped by the
command, with its defaults. For a quiet machine. Writes benchmarks/results/imagenet-thousand.json.
"""

# ruff: noqa: E501 (the text above is shown by --help)
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from benchmarks.imagenet.networks import MEAN, SIZE, STD, Network, load_network
from benchmarks.imagenet.photographs import FILE, parser_of
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "imagenet-thousand.json"
MODEL = "benchmarks.imagenet.thousand:lite0"
MIRRORED, STORED_SIZE, QUALITY = 300, 256, 95
"""Photographs that are taken twice; the shorter side, and the quality, at which all are stored."""


def lite0() -> nn.Module:
    """The network, as the command builds it."""
    return load_network(Network.LITE0)


def write_folders(data: Path, folder: Path) -> tuple[int, Path]:
    """Write the photographs as files, and the names of all classes; how many files there are, and the names."""
    with np.load(data / FILE) as found:
        stream, offsets, labels = found["jpeg"], found["offsets"], found["labels"]
        names = folder / "classes.txt"
        folder.mkdir(parents=True, exist_ok=True)
        names.write_text("\n".join(map(str, found["classes"])) + "\n", encoding="utf-8")
    count = 0
    for number, ((start, end), label) in enumerate(zip(pairwise(offsets), labels, strict=True)):
        photographs = folder / "photographs" / f"{label:04d}"
        photographs.mkdir(parents=True, exist_ok=True)
        (photographs / "as-it-is.jpg").write_bytes(stream[start:end].tobytes())
        count += 1
        if number < MIRRORED:
            image = cv2.imdecode(stream[start:end], cv2.IMREAD_COLOR)
            assert image is not None
            mirrored = str(photographs / "mirrored.jpg")
            cv2.imwrite(mirrored, image[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            count += 1
    return count, names


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder to write to")
    options = parser.parse_args(arguments)
    images, names = write_folders(options.data, options.work / "thousand")
    command = [sys.executable, "-m", "nip_runtime.cli.main", "export", "--model", MODEL]
    command += ["--data", str(names.parent / "photographs"), "--classes", str(names)]
    command += ["--preprocess", f"resize={STORED_SIZE},crop={SIZE}"]
    command += ["--mean", str(MEAN[0]), "--std", str(STD[0]), "--out", str(names.parent / "lite0.nip.onnx")]
    busy, began = os.getloadavg()[0], time.perf_counter()
    subprocess.run(command, check=True)
    seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "images": images,
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "seconds": round(seconds, 1),
        "peak_bytes": used.ru_maxrss * 1024,
        "cores": os.cpu_count(),
        "load_before": round(busy, 2),
    }
    print(found)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS, (json.dumps(found) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
