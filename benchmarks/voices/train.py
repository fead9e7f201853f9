"""Trains the networks: python -m benchmarks.voices.train --digits DATA --prompts FOLDER --out WORK

DATA holds spoken-digits.npz, FOLDER the unpacked Debian packages (see README.md); either may be left out. One
core, some minutes a network. Finished networks are kept.
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

from benchmarks.voices.corpora import Corpus, Recordings, load_voices
from benchmarks.voices.networks import FACTORIES, Kind
from nip_runtime.support.writing import write_whole

EPOCHS = {Corpus.DIGITS: 24, Corpus.PROMPTS: 14}
BATCH, PEAK, SEED = 64, 4e-3, 1


def weights_path(folder: Path, corpus: Corpus, kind: Kind) -> Path:
    """Where a network's weights lie."""
    return folder / f"{corpus}-{kind}.safetensors"


def varied(samples: Tensor) -> Tensor:
    """Usual augmentation: moved by up to an eighth, polarity by chance, ±6 dB, noise 30 to 50 dB down."""
    count, _, length = samples.shape
    places = torch.arange(length)[None] - torch.randint(-length // 8, length // 8 + 1, (count, 1))
    moved = samples[:, 0].gather(1, places.clamp(0, length - 1)) * ((places >= 0) & (places < length))
    gains = 10 ** ((torch.rand(count, 1) * 12 - 6) / 20) * (torch.randint(0, 2, (count, 1)) * 2 - 1)
    level = moved.square().mean(1, keepdim=True).sqrt() * 10 ** (-(torch.rand(count, 1) * 20 + 30) / 20)
    return ((moved + torch.randn_like(moved) * level) * gains).clamp(-1, 1)[:, None]


def train(data: Recordings, corpus: Corpus, kind: Kind) -> nn.Module:
    """One network; a one-cycle schedule, mildly smoothed labels."""
    torch.manual_seed(SEED)
    model = FACTORIES[kind](len(corpus.names))
    samples, labels = torch.from_numpy(data.samples), torch.from_numpy(data.labels)
    steps, epochs = len(labels) // BATCH, EPOCHS[corpus]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=epochs * steps)
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        model.train()
        for rows in torch.split(torch.randperm(len(labels))[: steps * BATCH], BATCH):
            loss = functional.cross_entropy(model(varied(samples[rows])), labels[rows], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        name = f"{corpus}-{kind}"
        print(f"{name}: epoch {epoch + 1}/{epochs}, loss {total / steps:.4f}, {seconds:.0f} s", flush=True)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: Recordings) -> float:
    """Share of recordings whose speaker `model` names."""
    parts = torch.split(torch.from_numpy(data.samples), 200)
    predicted = np.concatenate([model(part).argmax(1).numpy() for part in parts])
    return float((predicted == data.labels).mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, help="folder of spoken-digits.npz")
    parser.add_argument("--prompts", type=Path, help="folder of the unpacked Debian packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    folders = {Corpus.DIGITS: options.digits, Corpus.PROMPTS: options.prompts}
    for corpus, folder in folders.items():
        if folder is None:
            continue
        splits = load_voices(corpus, folder)
        sizes = ", ".join(f"{name} {len(part.labels)}" for name, part in vars(splits).items())
        print(f"{corpus}: {sizes}", flush=True)
        for kind in Kind:
            path = weights_path(options.out, corpus, kind)
            if path.exists():
                print(f"kept {path}")
                continue
            model = train(splits.training, corpus, kind)
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            write_whole(path, safetensors.torch.save(state))
            right = accuracy(model, splits.calibration)
            print(f"{path.name}: {right:.4f} of the calibration recordings", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
