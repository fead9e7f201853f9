"""What fp16 and int8 cost: the same defence of the same network in every precision, at one benign budget.

    python -m benchmarks.robustness.precision --work WORK --cifar DATA --networks cifar-resnet20 vgg-1 resnet-1

WORK holds trained weights and finished attacks, as benchmarks.robustness.run left them. The budget is that of
the robustness benchmark's file of 1.5 points. Profiles and perturbations are made once, in fp32; then
the network is converted, and everything else fitted to benign images, once per precision. The gray-box attacks
that count were crafted on the undefended fp32 network; all files answer the same attacked images.
Writes benchmarks/results/precision/NETWORK.json; benchmarks.robustness.precision_table makes the tables.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.results import MAIN, RESULTS, read_networks
from benchmarks.robustness.run import ATTACKED, CAPS, Folders, commit, material_of, prepare
from nip_evaluate.given.material import Material
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.subject import machine
from nip_evaluate.run import run_evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.demo.build_assets import DATA_DIR
from nip_export.pipeline import Prepared, in_precision, write_defended
from nip_export.support.progress import Progress, progress_bars
from nip_export.write.report import ExportReport
from nip_runtime.file.manifest import Precision
from nip_runtime.file.manifest.model import plain
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

PRECISION_RESULTS = RESULTS.parent / "precision"
PLAN = EvaluationPlan(threats=(Threat.GRAY_BOX,), images=ATTACKED, caps=CAPS, baselines=False)
Labels = NDArray[np.int64]


def budget_of(name: str, folder: Path = RESULTS) -> float:
    """The benign budget of a network's main file."""
    (network,) = (network for network in read_networks(folder) if network.name == name)
    return next(row.benign_budget for row in network.rows if row.limit == MAIN)


def labels_of(path: Path, images: NDArray[np.float32]) -> tuple[Labels, Labels]:
    """The file's answers (N,), undefended and defended."""
    with DefendedSession(path, device="cpu") as session:
        prediction = session.predict(images)
    return prediction.raw_labels, prediction.labels


def same(ours: Labels, theirs: Labels) -> Rate:
    return Rate(int((ours == theirs).sum()), len(ours))


def measured(
    report: ExportReport, material: Material, work: Path, attacks: str, progress: Progress
) -> dict[str, Any]:
    """One file attacked: what it costs and repairs."""
    evaluation = run_evaluation(
        report.path,
        replace(material, profile=None, calibration=None, surrogate=None),
        work / f"precision-{report.path.stem}",
        plan=replace(PLAN, attacks=(attacks,)),
        store=AttackStore(work / "attacks"),
        progress=progress,
    )
    benign, manifest = evaluation.benign, report.manifest
    return {
        "precision": str(manifest.precision),
        "size_bytes": report.size_bytes,
        "plain_size_bytes": report.plain_size_bytes,
        "conversion": plain(manifest.conversion) if manifest.conversion is not None else None,
        "benign": {
            "undefended": plain(benign.undefended),
            "defended": plain(benign.defended),
            "flagged_correct": plain(benign.flagged_correct),
            "second_pass": plain(benign.second_pass),
        },
        "mean_dsr": plain(evaluation.mean_dsr),
        "attacks": [
            {
                "name": attack.name,
                "undefended": plain(attack.undefended),
                "dsr": plain(attack.dsr),
                "agreement_with_torch": plain(attack.agreement),
            }
            for attack in evaluation.attacks
        ],
    }


def evaluate(work: Path, name: str, material: Material, progress: Progress) -> dict[str, Any]:
    """All precisions of one network."""
    kind = kind_of(name)
    budget, fp32 = budget_of(name), prepare(material, kind, progress)
    prepared: dict[Precision, Prepared] = {Precision.FP32: fp32}
    prepared |= {precision: in_precision(fp32, precision) for precision in (Precision.FP16, Precision.INT8)}
    images = material.test_inputs((0.0, 1.0)).inputs
    rows, reference = [], None
    for precision, made in prepared.items():
        path = work / f"{name}-{precision}.nip.onnx"
        report = write_defended(made, path, benign_budget=budget)
        raw, defended = labels_of(path, images)
        reference = (raw, defended) if reference is None else reference
        row = measured(report, material, work, "natural" if kind.is_cifar else "core", progress)
        row["same_label_as_fp32"] = {
            "undefended": plain(same(raw, reference[0])),
            "defended": plain(same(defended, reference[1])),
        }
        rows.append(row)
    return {"network": name, "commit": commit(), "machine": machine(), "benign_budget": budget, "rows": rows}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of weights and finished attacks")
    parser.add_argument("--networks", nargs="+", required=True, metavar="KIND-SEED")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    parser.add_argument("--cifar", type=Path, help="folder of cifar10-test.npz and weights/")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folders = Folders(options.work, options.data, options.cifar)
    PRECISION_RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.networks:
        with progress_bars() as progress:
            content = evaluate(options.work, name, material_of(folders, name), progress)
        target = PRECISION_RESULTS / f"{name}.json"
        write_whole(target, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
        print(f"{name}: {target}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
