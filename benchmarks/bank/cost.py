"""What looking up, widening and adding a class's perturbation costs, in passes of a MobileNetV2.

    python -m benchmarks.bank.cost

Both parts are cut out of one file of policy `always` at 1000 classes and 224²: from input and hypothesis to
the perturbed input (Gather, Cast, Mul, Resize, Add, Clip), and the backbone's pass. Paired rounds, one CPU
thread.
Writes benchmarks/results/bank/cost.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.bank.results import RESULTS, Cost, CostTable, write
from benchmarks.robustness.run import commit
from benchmarks.speed.files import seeded_defence
from benchmarks.speed.networks import NETWORKS, Name, Network, images_of
from nip_export.pipeline import write_defended
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import HYPOTHESIS, PERTURBED, RAW_LOGITS
from nip_runtime.operate.bench.machine import describe
from nip_runtime.operate.bench.rounds import latency, paired, ratio
from nip_runtime.run.engine.cut import Sliceable

BATCHES = (1, 16)
ROUNDS = 40
INPUT = "input"


def open_part(content: Sliceable, inputs: Sequence[str], output: str) -> onnxruntime.InferenceSession:
    """A part of the file on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    part = content.part(inputs, [output])
    return onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])


def check_moved(inputs: NDArray[np.float32], perturbed: NDArray[np.float32], eps: float) -> None:
    """Refuse to time something that does not perturb.

    Raises:
        ExportError: inputs as they were, or further away than ε.
    """
    distance = float(np.abs(perturbed - inputs).max())
    if not 0.5 * eps < distance <= eps * (1 + 1e-4):
        raise ExportError(f"expected inputs moved by up to {eps:.4f}, got {distance:.4f}")


def measure(network: Network, content: Sliceable, *, eps: float, batch: int, rounds: int) -> Cost:
    """Time one batch size."""
    plain = open_part(content, [INPUT], RAW_LOGITS)
    adding = open_part(content, [INPUT, HYPOTHESIS], PERTURBED)
    inputs = images_of(network, batch, seed=batch)
    hypothesis = np.random.default_rng(batch).integers(network.classes, size=batch)
    check_moved(inputs, adding.run(None, {INPUT: inputs, HYPOTHESIS: hypothesis})[0], eps)
    times = paired(
        {
            "plain": lambda: plain.run(None, {INPUT: inputs}),
            "adding": lambda: adding.run(None, {INPUT: inputs, HYPOTHESIS: hypothesis}),
        },
        rounds=rounds,
    )
    found = ratio(times["adding"], times["plain"])
    return Cost(
        network=network.title,
        batch=batch,
        rounds=rounds,
        plain_ms=latency(times["plain"]).p50_ms,
        adding_ms=latency(times["adding"]).p50_ms,
        ratio=found.median,
        low=found.low,
        high=found.high,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="paired rounds per batch size")
    parser.add_argument("--out", type=Path, default=RESULTS / "cost.json", help="the file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    machine = asdict(describe())  # before anything runs: the load is that of others
    network = NETWORKS[Name.MOBILENETV2]
    with tempfile.TemporaryDirectory(prefix="nip-cost-") as folder:
        path = Path(folder) / "always.onnx"
        report = write_defended(
            next(d for d in seeded_defence(network) if d.bench.config.policy is Policy.ALWAYS), path
        )
        content, eps = Sliceable(path.read_bytes()), report.manifest.defence.eps_pixel
    rows = tuple(measure(network, content, eps=eps, batch=batch, rounds=options.rounds) for batch in BATCHES)
    write(options.out, CostTable(commit=commit(), machine=machine, rows=rows))
    print(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
