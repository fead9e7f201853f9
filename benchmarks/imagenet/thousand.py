"""What `nip export` itself takes for 1,000 photographs: processor time, the clock, memory.

    python -m benchmarks.imagenet.thousand --data DATA --work WORK [--network resnet50]

The 700 photographs as they are stored, and 300 of them mirrored, one folder per class, read and cropped by the
command, with its defaults. For a quiet machine. Writes benchmarks/results/imagenet-thousand.json.
ResNet-50 is timm's, with drawn weights, for no package with trained ones was found: what its file is worth says
nothing, so the photographs have no labels and the export is forced; the passes are those of a trained one.
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
import torch
from torch import nn

from benchmarks.architectures.networks import build
from benchmarks.imagenet.networks import MEAN, SIZE, STD, Network, load_network
from benchmarks.imagenet.photographs import FILE, parser_of
from benchmarks.memory_curve.run import images as drawn
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "imagenet-thousand.json"
NETWORKS = {"lite0": ("EfficientNet-Lite0", 6), "resnet50": ("ResNet-50 with drawn weights", 15)}
"""Functions of this module, what the table calls their networks, and how many minutes of a processor are asked."""
MIRRORED, STORED_SIZE, QUALITY = 300, 256, 95
"""Photographs that are taken twice; the shorter side, and the quality, at which all are stored."""


def lite0() -> nn.Module:
    """The network, as the command builds it."""
    return load_network(Network.LITE0)


def resnet50() -> nn.Module:
    """ResNet-50 with drawn weights, whose answers spread over the classes."""
    model, _ = build("timm/resnet50", classes=1000)
    shown = torch.from_numpy(np.stack(list(drawn(32, SIZE)))).permute(0, 3, 1, 2) / 255
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # statistics of what it is shown alone
    with torch.no_grad():
        model.train()(shown)
        head = model.eval().get_submodule("fc")
        features = model.forward_head(model.forward_features(shown), pre_logits=True)  # type: ignore[operator]
        weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
        weight.mul_(20)
        bias.copy_(-weight @ features.mean(0))
    return model


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


def read_results() -> dict[str, dict[str, float]]:
    """What was measured so far, by the network's function."""
    found: dict[str, dict[str, float]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder to write to")
    parser.add_argument("--network", choices=NETWORKS, default="lite0")
    options = parser.parse_args(arguments)
    images, names = write_folders(options.data, options.work / "thousand")
    command = [sys.executable, "-m", "nip_runtime.cli.main", "export"]
    command += ["--model", f"benchmarks.imagenet.thousand:{options.network}"]
    command += ["--data", str(names.parent / "photographs"), "--classes", str(names)]
    command += ["--preprocess", f"resize={STORED_SIZE},crop={SIZE}"]
    command += ["--mean", str(MEAN[0]), "--std", str(STD[0])]
    command += ["--out", str(names.parent / f"{options.network}.nip.onnx")]
    command += ["--unlabelled", "--force"] if options.network == "resnet50" else []
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
    every = read_results() | {options.network: found}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS, (json.dumps(every, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
