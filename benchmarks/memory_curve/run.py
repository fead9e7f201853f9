"""What an export holds at its peak, by the number of images.

    python -m benchmarks.memory_curve.run [--images 1000,3000,10000,50000] [--size 224] [--memory 3G]
        [--save F.json]

A small network and drawn images of 224×224 that come one after another, as from a DataLoader: what grows is
what the export itself keeps of every image. Every export runs in a process of its own, without labels, with
few steps; its peak is what the kernel says of it, and what it leaves in the temporary folder is counted too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.memory_curve.table import RESULTS, merged, read_results
from nip_export import ExportConfig, export_defended
from nip_export.commands.numbers import amount
from nip_export.commands.threads import keep_freed_memory
from nip_runtime.run.memory import peak_bytes, resident_bytes
from nip_runtime.support.writing import write_whole

COUNTS: Final = (1000, 3000, 10_000, 50_000)
CLASSES: Final = 10


def network() -> nn.Module:
    """Four strided convolutions, drawn; each class is a direction of its own."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    head = nn.Linear(64, CLASSES)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    shown = torch.from_numpy(np.stack(list(images(64, 64)))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        # Statistics of such images, and classes that they spread over.
        model.train()(shown)
        model.eval()
        features = model[:-1](shown)
        head.weight *= 20
        head.bias.copy_(-head.weight @ features.mean(0))
    return model


def images(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """Drawn images, uint8 (size, size, 3): blocks of colour under noise."""
    random = np.random.default_rng(0)
    for _ in range(count):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = blocks.repeat(-(-size // 4), 0).repeat(-(-size // 4), 1)[:size, :size]
        noise = random.integers(-20, 21, image.shape, dtype=np.int16)
        yield (image + noise).clip(0, 255).astype(np.uint8)


def one(count: int, size: int, memory: int | None) -> dict[str, Any]:
    """Export once, in this process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    model = network()
    before = resident_bytes()
    with tempfile.TemporaryDirectory() as folder:
        config = ExportConfig(ascent_steps=2, view="mirror", force=True, memory=memory)
        report = export_defended(model, images(count, size), None, Path(folder) / "x.onnx", config=config)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images": count,
        "size": size,
        "pixels_bytes": count * size * size * 3,
        "before_bytes": before,
        "peak_bytes": peak_bytes(),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(report.seconds, 1),
    }


def counts_of(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1000,4000, got {text}") from None


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=counts_of, default=COUNTS, metavar="N,N,…")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--memory", type=amount)
    parser.add_argument("--save", type=Path, default=RESULTS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    counts = args.images
    if args.one:
        print(json.dumps(one(counts[0], args.size, args.memory)))
        return 0
    rows = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.memory_curve.run", "--one", "--images", str(count)]
        command += ["--size", str(args.size)]
        command += ["--memory", str(args.memory)] if args.memory is not None else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{row['images']:>6} images, {row['pixels_bytes'] / 1e9:.2f} GB of pixels: "
            f"peak {row['peak_bytes'] / 1e9:.2f} GB, {row['cpu_s']} CPU s",
            flush=True,
        )
        kept = merged(read_results(args.save), rows)
        write_whole(args.save, (json.dumps(kept, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
