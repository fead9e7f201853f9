"""Trains the benchmark's networks: python -m benchmarks.robustness.train --kind vgg --seeds 1 2 3 --out WORK

One core, about five minutes a network on Fashion-MNIST (ten with --adversarial), half an hour to an hour on
CIFAR-10, whose networks compute in bfloat16 while they learn. Finished networks are kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.robustness.cifar_networks import MEAN as CIFAR_MEAN
from benchmarks.robustness.cifar_networks import STD as CIFAR_STD
from benchmarks.robustness.cifar_splits import load_cifar_splits
from benchmarks.robustness.networks import FACTORIES, Kind
from benchmarks.robustness.splits import load_splits
from nip_export.data import to_model_input
from nip_export.demo.build_assets import DATA_DIR, Labelled
from nip_export.demo.model import MEAN, STD
from nip_runtime.support.writing import write_whole

EPOCHS = {
    Kind.VGG: 6,
    Kind.RESNET: 6,
    Kind.VIT: 10,
    Kind.CIFAR_VGG: 14,
    Kind.CIFAR_VIT: 18,
    Kind.CIFAR_MOBILE: 12,
}
ADVERSARIAL_EPOCHS = 3
EPS, ADVERSARIAL_STEPS = 8 / 255, 4
BATCH = 128


def weights_path(folder: Path, kind: Kind, seed: int, *, adversarial: bool = False) -> Path:
    """Where a network's weights lie."""
    return folder / f"{kind}-{seed}{'-pgd' if adversarial else ''}.safetensors"


def normalise(pixels: Tensor) -> Tensor:
    """Pixels (N, C, H, W) in [0, 1] as the networks take them: C = 1 Fashion-MNIST, C = 3 CIFAR-10."""
    mean, std = (MEAN, STD) if pixels.shape[1] == 1 else (CIFAR_MEAN, CIFAR_STD)
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def cropped(images: Tensor, padding: int = 4) -> Tensor:
    """Every image moved by up to `padding` pixels each way, black where nothing was."""
    side = images.shape[-1]
    wide = functional.pad(images, [padding] * 4)
    moves = torch.randint(0, 2 * padding + 1, (2, len(images), 1, 1, 1))
    rows, columns = (torch.arange(side).view(shape) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    each = torch.arange(len(images)).view(-1, 1, 1, 1)
    return wide[each, torch.arange(images.shape[1]).view(1, -1, 1, 1), moves[0] + rows, moves[1] + columns]


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
    images = torch.from_numpy(to_model_input(data.images, 3 if kind.is_cifar else 1))
    labels = torch.from_numpy(data.labels)
    steps = len(labels) // BATCH
    optimizer: torch.optim.Optimizer
    if kind in (Kind.VIT, Kind.CIFAR_VIT):
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
            if kind.is_cifar:
                batch = cropped(batch)
            # The plain form of attention: its fused form's gradient takes twice as long on CPUs.
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=kind.is_cifar),
                sdpa_kernel(SDPBackend.MATH),
            ):
                logits = model(normalise(batch).contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), truth)
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


def accuracy(model: nn.Module, data: Labelled) -> float:
    """Share of images that `model` labels correctly."""
    images = torch.from_numpy(
        to_model_input(data.images, data.images.shape[3] if data.images.ndim == 4 else 1)
    )
    with torch.no_grad():
        predicted = torch.cat([model(normalise(batch)).argmax(1) for batch in torch.split(images, 500)])
    return float((predicted == torch.from_numpy(data.labels)).float().mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", type=Kind, required=True, choices=list(EPOCHS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--adversarial", action="store_true", help="train on PGD examples of 8/255")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    parser.add_argument("--cifar", type=Path, help="folder of cifar10-train.npz and cifar10-test.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if options.kind.is_cifar and options.cifar is None:
        parser.error("--cifar: expected the folder of cifar10-train.npz and cifar10-test.npz for this kind")
    splits = (
        load_cifar_splits(options.cifar, training=True)
        if options.kind.is_cifar
        else load_splits(options.data)
    )
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
        right = accuracy(model, splits.calibration)
        print(f"{path.name}: {right:.4f} of the calibration images", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
