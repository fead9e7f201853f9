"""Exports EfficientNet-Lite0 with 500 photographs, one each of 500 of 1000 classes, as `nip export` would.

python -m benchmarks.imagenet.export --data DATA --work WORK
"""

from __future__ import annotations

import json
import resource
import time

import torch

from benchmarks.imagenet.networks import MEAN, SIZE, STD, Network, load_network
from benchmarks.imagenet.photographs import load_photographs, parser_of
from nip_export.commands.threads import keep_freed_memory
from nip_export.config import ExportConfig
from nip_export.pipeline import prepare_defence, write_defended
from nip_export.support.progress import progress_bars
from nip_runtime.support.writing import write_whole

FILE, PLAIN, MADE = "lite0.nip.onnx", "lite0.onnx", "export.json"
BUDGETS = (ExportConfig().benign_budget, 0.03, 0.04)
"""The default, at which 350 photographs let the gate flag two of them, and two that leave it room."""


def file_of(budget: float) -> str:
    """Name of the file of a benign budget."""
    return FILE if budget == BUDGETS[0] else f"lite0-{budget}.nip.onnx"


def config_of(names: tuple[str, ...] | None) -> ExportConfig:
    """The default settings."""
    return ExportConfig(mean=MEAN, std=STD, class_names=names)


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder to write to")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (default 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    photographs = load_photographs(options.data, SIZE)
    profile, calibration = photographs.profile, photographs.calibration
    began = time.process_time()
    with progress_bars() as progress:
        prepared = prepare_defence(
            load_network(Network.LITE0),
            profile.images,
            profile.labels,
            calibration=(calibration.images, calibration.labels),
            config=config_of(profile.class_names),
            progress=progress,
        )
        report = write_defended(prepared, options.work / FILE, plain_path=options.work / PLAIN)
        cpu_s = time.process_time() - began
        for budget in BUDGETS[1:]:
            write_defended(prepared, options.work / file_of(budget), benign_budget=budget)
    print(report.summary())
    made = {
        "cpu_s": cpu_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": report.seconds,
        "size_bytes": report.size_bytes,
        "plain_size_bytes": report.plain_size_bytes,
    }
    write_whole(options.work / MADE, (json.dumps(made) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
