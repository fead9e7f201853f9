"""Trains the demo's network and picks its images: ``python -m nip_export.demo.build_assets``.

Run by a maintainer, not by users: what it writes is committed beside this file and shipped in the wheel.
Reads the four idx files of Debian's package ``dataset-fashion-mnist`` (Zalando, MIT licence).

The 60,000 training images are permuted by the seed; the first 55,000 train the network and the other 5,000
provide the profile and calibration images, so neither was seen in training. The 500 test images come from
the official test split, drawn by label and seed alone. Epochs and learning rate are fixed beforehand:
the test split is looked at only to print the final accuracies.

The surrogate, a small residual network for transfer attacks, is trained on the same 55,000 images.

Same seed and same torch version: same files. About fifteen minutes on one core.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from nip_export.demo.model import MEAN, STD, SmallVgg
from nip_export.demo.surrogate import SmallResNet

DATA_DIR = Path("/usr/share/datasets/fashion-mnist")
ASSETS_DIR = Path(__file__).parent / "assets"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAINING_IMAGES = 55_000
PROFILE_PER_CLASS, CALIBRATION_PER_CLASS, TEST_PER_CLASS = 200, 150, 50
BATCH = 128
PEAK_LEARNING_RATE = 0.15

NOTICE = """\
images.npz holds 4,000 images of Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist), unchanged;
weights.safetensors holds a network trained on 55,000 others. The data set comes under this licence:

The MIT License (MIT)

Copyright © 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO
EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN
AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE
OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True)
class Labelled:
    """Images uint8 (N, 28, 28) with labels int64 (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """The rows named, in that order."""
        return Labelled(self.images[rows], self.labels[rows])


def read_idx(folder: Path, split: str) -> Labelled:
    """One split ("train" or "t10k") of the idx files; FileNotFoundError says how to get them."""
    paths = [folder / f"{split}-images-idx3-ubyte.gz", folder / f"{split}-labels-idx1-ubyte.gz"]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"Fashion-MNIST file {path} is absent: `apt-get install dataset-fashion-mnist` brings it; "
                "or name the folder that holds the four .gz files with --data."
            )
    images, labels = (gzip.decompress(path.read_bytes()) for path in paths)
    return Labelled(
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def sample_per_class(
    labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """`count` rows of every class, drawn without replacement and shuffled."""
    chosen = [rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in np.unique(labels)]
    return rng.permutation(np.concatenate(chosen))


def to_input(data: Labelled) -> torch.Tensor:
    """Normalised float32 (N, 1, 28, 28)."""
    pixels = torch.from_numpy(data.images.astype(np.float32) / 255)[:, None]
    return (pixels - MEAN[0]) / STD[0]


def train(data: Labelled, factory: Callable[[], nn.Module], *, epochs: int, seed: int) -> nn.Module:
    """SGD with a one-cycle learning rate and random horizontal flips; prints one line per epoch."""
    torch.manual_seed(seed)
    model = factory()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stub
    images, labels = to_input(data), torch.from_numpy(data.labels)
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=max(1, epochs * steps)
    )
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        model.train()
        for rows in torch.split(torch.randperm(len(labels))[: steps * BATCH], BATCH):
            batch = images[rows]
            flip = torch.rand(len(batch), 1, 1, 1) < 0.5
            loss = functional.cross_entropy(model(torch.where(flip, batch.flip(3), batch)), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}: mean loss {total / steps:.4f}, {seconds:.1f} s", flush=True)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: Labelled) -> float:
    """Share of images that `model` labels correctly."""
    predicted = torch.cat([model(to_input(data.take(rows))).argmax(1) for rows in _chunks(len(data.labels))])
    return float((predicted == torch.from_numpy(data.labels)).float().mean())


def _chunks(count: int) -> list[npt.NDArray[np.int64]]:
    return np.array_split(np.arange(count), max(1, count // 500))


def halved(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state as it is shipped; the model takes the weights back as they come from half precision."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return state


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train the demo's network and write its assets.")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    parser.add_argument("--out", type=Path, default=ASSETS_DIR)
    parser.add_argument("--surrogate-epochs", type=int, default=6)
    parser.add_argument("--surrogate-only", action="store_true", help="leave the other assets as they are")
    options = parser.parse_args(arguments)
    # One thread adds up in the same order on every machine.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        full, official_test = read_idx(options.data, "train"), read_idx(options.data, "t10k")
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(full.labels))
    training, held_out = full.take(order[:TRAINING_IMAGES]), full.take(order[TRAINING_IMAGES:])
    rows = sample_per_class(held_out.labels, PROFILE_PER_CLASS + CALIBRATION_PER_CLASS, rng)
    # A second draw within the first keeps both parts balanced over the classes.
    first = sample_per_class(held_out.labels[rows], PROFILE_PER_CLASS, rng)
    splits = {
        "profile": held_out.take(rows[first]),
        "calibration": held_out.take(np.delete(rows, first)),
        "test": official_test.take(sample_per_class(official_test.labels, TEST_PER_CLASS, rng)),
    }

    options.out.mkdir(parents=True, exist_ok=True)
    surrogate = train(training, SmallResNet, epochs=options.surrogate_epochs, seed=options.seed)
    safetensors.torch.save_file(halved(surrogate), options.out / "surrogate.safetensors")
    print(
        f"surrogate: accuracy {accuracy(surrogate, held_out):.4f} of {len(held_out.labels)} held-out images"
    )
    if options.surrogate_only:
        return 0
    model = train(training, SmallVgg, epochs=options.epochs, seed=options.seed)
    safetensors.torch.save_file(halved(model), options.out / "weights.safetensors")
    arrays: dict[str, Any] = {"class_names": np.array(CLASS_NAMES)}
    arrays |= {f"{name}_images": split.images for name, split in splits.items()}
    arrays |= {f"{name}_labels": split.labels.astype(np.uint8) for name, split in splits.items()}
    np.savez_compressed(options.out / "images.npz", **arrays)
    (options.out / "NOTICE").write_text(NOTICE, encoding="utf-8")
    for name, split in {**splits, "official test split": official_test}.items():
        print(f"{name}: accuracy {accuracy(model, split):.4f} of {len(split.labels)} images")
    for path in sorted(options.out.iterdir()):
        path.chmod(0o644)  # safetensors writes for the owner alone, and a wheel keeps modes
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
