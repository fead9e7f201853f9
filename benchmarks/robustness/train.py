"""Trains the benchmark's networks: python -m benchmarks.robustness.train --kind vgg --seeds 1 2 3 --out WORK

One core, about five minutes a network (ten with --adversarial). Finished networks are kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.robustness.networks import FACTORIES, Kind
from benchmarks.robustness.splits import load_splits
from nip_export.demo.build_assets import DATA_DIR, Labelled, accuracy
from nip_export.demo.model import MEAN, STD
from nip_runtime.writing import write_whole

EPOCHS = {Kind.VGG: 6, Kind.RESNET: 6, Kind.VIT: 10}
ADVERSARIAL_EPOCHS = 3
EPS, ADVERSARIAL_STEPS = 8 / 255, 4
BATCH = 128


def weights_path(folder: Path, kind: Kind, seed: int, *, adversarial: bool = False) -> Path:
    """Where a network's weights lie."""
    return folder / f"{kind}-{seed}{'-pgd' if adversarial else ''}.safetensors"


def normalise(pixels: Tensor) -> Tensor:
    return (pixels - MEAN[0]) / STD[0]


def attacked(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    """PGD from a random start, as in Madry et al., ICLR 2018."""
    moved = (pixels + torch.empty_like(pixels).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(ADVERSARIAL_STEPS):
        moved.requires_grad_(True)
        loss = functional.cross_entropy(model(normalise(moved)), labels)
        gradient = torch.autograd.grad(loss, moved)[0]
        step = moved.detach() + 2.5 * EPS / ADVERSARIAL_STEPS * gradient.sign()
        moved = torch.maximum(torch.minimum(step, pixels + EPS), pixels - EPS).clamp(0, 1)
    return moved.detach()


def train(data: Labelled, kind: Kind, *, seed: int, epochs: int, adversarial: bool = False) -> nn.Module:
    """One network; a one-cycle schedule, random horizontal flips."""
    torch.manual_seed(seed)
    model = FACTORIES[kind]()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stub
    images = torch.from_numpy(data.images.astype(np.float32) / 255)[:, None]
    labels = torch.from_numpy(data.labels)
    steps = len(labels) // BATCH
    optimizer: torch.optim.Optimizer
    if kind is Kind.VIT:
        peak, optimizer = 2e-3, torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    else:
        peak = 0.15
        optimizer = torch.optim.SGD(
            model.parameters(), lr=peak, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=epochs * steps)
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        model.train()
        for rows in torch.split(torch.randperm(len(labels))[: steps * BATCH], BATCH):
            batch, truth = images[rows], labels[rows]
            batch = torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(3), batch)
            if adversarial:
                batch = attacked(model, batch, truth)
            loss = functional.cross_entropy(model(normalise(batch)), truth)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        print(
            f"{kind}-{seed}: epoch {epoch + 1}/{epochs}, loss {total / steps:.4f}, {seconds:.0f} s",
            flush=True,
        )
    return model.eval()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", type=Kind, required=True, choices=list(Kind))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--adversarial", action="store_true", help="train on PGD examples of 8/255")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    splits = load_splits(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        path = weights_path(options.out, options.kind, seed, adversarial=options.adversarial)
        if path.exists():
            print(f"kept {path}")
            continue
        epochs = ADVERSARIAL_EPOCHS if options.adversarial else EPOCHS[options.kind]
        model = train(
            splits.training, options.kind, seed=seed, epochs=epochs, adversarial=options.adversarial
        )
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        write_whole(path, safetensors.torch.save(state))
        print(f"{path.name}: {accuracy(model, splits.calibration):.4f} of the calibration images", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
