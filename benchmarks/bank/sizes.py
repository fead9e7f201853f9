"""What the parts of a defended file take in bytes: 1000 classes at 224², and the Fashion-MNIST models.

    python -m benchmarks.bank.sizes [--networks mobilenetv2 vit-tiny resnet50 fashion-vgg …]

Files are made as the speed benchmark makes them: untrained networks, seeded tables, every other stage of the
export as it is. Which early layer a trained network's read-out stands on depends on the network, so each is
sized with the earliest layer and with the one that makes the largest file.
Writes benchmarks/results/bank/sizes-NETWORK.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.bank.results import RESULTS, Sizes, SizeTable, write
from benchmarks.robustness.run import commit
from benchmarks.speed.files import seeded_defence, seeded_readout
from benchmarks.speed.networks import NETWORKS, Name, Network
from nip_evaluate.given.subject import machine
from nip_export.attach.recover import PREFIX
from nip_export.network.run import TapCells
from nip_export.pipeline import Prepared, write_defended
from nip_export.support.progress import Progress, progress_bars

TABLES = {
    "bank": ("bank",),
    "readouts": ("readout/",),
    "scales": ("disagreement_", "typicality_", "response_", "change_"),
}
"""Starts of the constants' names by part."""


def tensor_bytes(path: Path) -> Mapping[str, int]:
    """What every constant of a file takes, by name."""
    graph = onnx.load(path).graph
    return {tensor.name: tensor.ByteSize() for tensor in graph.initializer}


def sizes_of(path: Path, plain: Path, *, network: str, policy: str, readout: str) -> Sizes:
    """Sort a defended file's bytes by what they are for."""
    tensors = tensor_bytes(path)
    own = {name.removeprefix(PREFIX): size for name, size in tensors.items() if name.startswith(PREFIX)}
    parts = {
        part: sum(size for name, size in own.items() if name.startswith(starts))
        for part, starts in TABLES.items()
    }
    weights = sum(size for name, size in tensors.items() if not name.startswith(PREFIX))
    return Sizes(
        network=network,
        policy=policy,
        readout=readout,
        plain=plain.stat().st_size,
        weights=weights,
        rest=path.stat().st_size - weights - sum(parts.values()),
        **parts,
    )


def grids_to_size(prepared: Prepared) -> Sequence[TapCells]:
    """The earliest layer, and the one with the largest read-out if that is another."""
    grids = prepared.bench.early_grids
    widest = max(grids, key=lambda grid: grid.tap.width(cells=grid.cells))
    return (grids[0],) if widest is grids[0] else (grids[0], widest)


def measure(network: Network, folder: Path, progress: Progress) -> list[Sizes]:
    """All rows of one network."""
    rows = []
    for prepared in seeded_defence(network):
        policy = prepared.bench.config.policy
        grids = grids_to_size(prepared)
        stage = progress(f"{network.title}, {policy}: files", len(grids))
        for grid in grids:
            readout = seeded_readout(grid, prepared.bench, np.random.default_rng(1))
            path, plain = folder / f"{network.name}.onnx", folder / f"{network.name}.plain.onnx"
            write_defended(
                replace(prepared, known=replace(prepared.known, readouts=(readout,))), path, plain_path=plain
            )
            width = grid.tap.width(cells=grid.cells)
            rows.append(
                sizes_of(
                    path,
                    plain,
                    network=network.title,
                    policy=str(policy),
                    readout=f"{grid.tap.name} ({width})",
                )
            )
            stage(1)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", type=Name, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.networks:
        with tempfile.TemporaryDirectory(prefix="nip-sizes-") as folder, progress_bars() as progress:
            rows = measure(NETWORKS[name], Path(folder), progress)
        path = options.out / f"sizes-{name}.json"
        write(path, SizeTable(commit=commit(), machine=machine(), rows=tuple(rows)))
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
