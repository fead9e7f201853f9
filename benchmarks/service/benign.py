"""How often the watch for near-duplicates warns for nothing, on benign images; and what it mistakes for them.

python -m benchmarks.service.benign [--cifar FOLDER]    # writes benchmarks/results/service/benign.json
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.robustness.cifar_splits import read_jpeg
from benchmarks.service.run import RESULTS
from nip_export.demo.build_assets import DATA_DIR, Labelled, read_idx
from nip_runtime.observe import BurstWatch
from nip_runtime.support.writing import write_whole

STREAMS, PER_CLASS, FILMS, FRAMES = 100, 10, 50, 64

Stream = NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch every kind of stream; CIFAR-10 only where its folder is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--cifar", type=Path, help="folder with cifar10-test.npz")
    args = parser.parse_args(arguments)
    logging.getLogger("nip_runtime.observe.bursts").setLevel(logging.ERROR)
    sets = {"Fashion-MNIST": read_idx(args.data, "t10k")}
    if args.cifar is not None:
        sets["CIFAR-10"] = read_jpeg(args.cifar / "cifar10-test.npz")
    found = [row for name, images in sets.items() for row in watched(name, images)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "benign.json", f"{json.dumps(found, indent=1)}\n".encode())
    return 0


def watched(name: str, images: Labelled) -> list[dict[str, Any]]:
    """The counts of one data set's streams, each of them one client's."""
    rng = np.random.default_rng(0)
    count = len(images.labels)
    kinds: dict[str, Iterator[Stream]] = {
        f"all test images, shuffled {STREAMS} times": (
            images.images[rng.permutation(count)] for _ in range(STREAMS)
        ),
        f"the test images of one class, shuffled {PER_CLASS} times each": (
            images.images[rng.permutation(np.flatnonzero(images.labels == label))]
            for label in range(10)
            for _ in range(PER_CLASS)
        ),
        f"one image, moved by up to a pixel and with camera noise, for {FRAMES} frames": (
            film(images.images[row], rng) for row in rng.permutation(count)[:FILMS]
        ),
    }
    rows = []
    for kind, streams in kinds.items():
        states = []
        for stream in streams:
            watch = BurstWatch()
            watch.see(stream)
            states.append(watch.state())
        rows.append(
            {
                "data": name,
                "kind": kind,
                "streams": len(states),
                "rows": sum(state.rows + state.repeated for state in states),
                "near": sum(state.near for state in states),
                "alarmed": sum(state.bursts > 0 for state in states),
                "is_video": "frames" in kind,
            }
        )
        print(rows[-1], flush=True)
    return rows


def film(image: Stream, rng: np.random.Generator) -> Stream:
    """Frames (FRAMES, H, W[, C]) of a camera that is held by hand: moved by up to a pixel, a little noise."""
    frames = [np.roll(image, rng.integers(-1, 2, 2), axis=(0, 1)) for _ in range(FRAMES)]
    noisy = np.stack(frames) + rng.normal(0, 2, (FRAMES, *image.shape))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
