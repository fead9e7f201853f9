"""The full protocol on the benchmark's networks.

    python -m benchmarks.robustness.train --kind vgg --out WORK       # and resnet, vit
    python -m benchmarks.robustness.run --work WORK --networks vgg-1 resnet-1 …

For every network: benign budgets are chosen on calibration images so that at most 0.5, 1.5 and 3.5 points of
accuracy are given up with 90 % confidence; a file is exported for each; the one of 1.5 points faces
all threat models, the others the core gray-box attacks; baselines get the same budget. Attacks are kept in
WORK and not made twice. --full adds all other gray-box attacks and the queries to the file; --lean takes
fewer C&W images and leaves the variant `always` out.
Writes benchmarks/results/robustness/NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from benchmarks.robustness.networks import FACTORIES, Kind
from benchmarks.robustness.splits import Splits, load_splits
from benchmarks.robustness.train import weights_path
from nip_export.benign import at_the_door
from nip_export.config import ExportConfig
from nip_export.data import ImageSet
from nip_export.demo.build_assets import CLASS_NAMES, DATA_DIR, Labelled
from nip_export.demo.model import MEAN, STD
from nip_export.evaluate.baselines import Laboratory, VariantKind
from nip_export.evaluate.material import Material
from nip_export.evaluate.memory import Memory
from nip_export.evaluate.plan import EvaluationPlan
from nip_export.evaluate.report_json import to_json
from nip_export.evaluate.results import Evaluation
from nip_export.evaluate.run import run_evaluation
from nip_export.evaluate.store import AttackStore
from nip_export.evaluate.threats import Threat
from nip_export.pipeline import Prepared, prepare_defence, write_defended
from nip_export.progress import Progress, progress_bars
from nip_runtime.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "robustness"
LIMITS = (0.005, 0.015, 0.035)
"""Accuracy that may be given up."""
MAIN = 0.015
ATTACKED = 1000
CAPS = {"C&W": 500, "T4": 100}
"""Attacks that cost most get fewer images; "full" networks attack 200 adaptively."""
LEAN_CAPS = {"C&W": 300, "T4": 100}
SURROGATES = {Kind.VGG: "resnet-1", Kind.RESNET: "vgg-1", Kind.VIT: "vgg-1"}


def load_network(work: Path, name: str) -> nn.Module:
    """A trained network such as "vgg-1"."""
    kind, seed = name.split("-")[:2]
    path = weights_path(work, Kind(kind), int(seed), adversarial=name.endswith("-pgd"))
    model = FACTORIES[Kind(kind)]()
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval()


def image_set(data: Labelled) -> ImageSet:
    return ImageSet(data.images, data.labels, CLASS_NAMES)


def material_of(work: Path, name: str, splits: Splits) -> Material:
    """The network, its surrogate and its images; the first 1000 test images are attacked."""
    test, further = splits.test, splits.further
    every = Labelled(
        np.concatenate([test.images, further.images]), np.concatenate([test.labels, further.labels])
    )
    return Material(
        model=load_network(work, name),
        test=image_set(every),
        surrogate=load_network(work, SURROGATES[Kind(name.split("-")[0])]),
        profile=image_set(splits.profile),
        calibration=image_set(splits.calibration),
    )


def plan_of(limit: float, *, full: bool, lean: bool = False) -> EvaluationPlan:
    """Which attacks a file faces."""
    caps, without = (LEAN_CAPS, (VariantKind.ALWAYS,)) if lean else (CAPS, ())
    if limit != MAIN:
        return EvaluationPlan(
            threats=(Threat.GRAY_BOX,), attacks=("core",), images=ATTACKED, caps=caps, without=without
        )
    if full:
        return EvaluationPlan(images=ATTACKED, caps=CAPS | {"T4": 200})
    return EvaluationPlan(
        threats=(Threat.GRAY_BOX, Threat.TRANSFER, Threat.ADAPTIVE),
        attacks=("core", "DeepFool"),
        images=ATTACKED,
        caps=caps,
        without=without,
    )


def prepare(material: Material, progress: Progress) -> Prepared:
    """All of the defence but its thresholds, with default settings."""
    assert material.profile is not None and material.calibration is not None
    return prepare_defence(
        material.model,
        material.profile.images,
        material.profile.labels,
        calibration=(material.calibration.images, material.calibration.labels),
        config=ExportConfig(mean=MEAN, std=STD, class_names=CLASS_NAMES),
        progress=progress,
    )


def row_of(limit: float, budget: float, evaluation: Evaluation) -> dict[str, Any]:
    """A row of the results: the whole report of the main file, the rates alone of the others."""
    if limit != MAIN:
        evaluation = replace(evaluation, influence=(), latency=(), trade_offs=())
    # Long lists of points that no table needs; report.json in WORK has them.
    evaluation = replace(evaluation, detector=(), risk_coverage=())
    return {"limit": limit, "benign_budget": budget, "report": to_json(evaluation)}


def commit() -> str:
    """The commit that the numbers were made with, marked if the tree differs from it."""
    root = Path(__file__).resolve().parent
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return described.stdout.strip()


def evaluate(work: Path, name: str, splits: Splits, *, full: bool, lean: bool, progress: Progress) -> None:
    """Export and evaluate one network at all limits."""
    material = material_of(work, name, splits)
    prepared = prepare(material, progress)
    bench = prepared.bench
    probe = write_defended(prepared, work / f"{name}.nip.onnx")
    assert material.profile is not None
    laboratory = Laboratory(
        material.model,
        at_the_door(material.profile),
        bench.calibration,
        bench.config,
        given=probe.spec,
        progress=progress,
    )
    rows, memory = [], Memory()
    for limit in LIMITS:
        budget = laboratory.budget_for_cost(VariantKind.FILE, limit)
        path = work / f"{name}-{limit:g}.nip.onnx"
        write_defended(prepared, path, benign_budget=budget)
        evaluation = run_evaluation(
            path,
            material,
            work / f"{name}-{limit:g}",
            plan=plan_of(limit, full=full, lean=lean),
            laboratory=laboratory,
            store=AttackStore(work / "attacks"),
            memory=memory,
            progress=progress,
        )
        rows.append(row_of(limit, budget, evaluation))
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"network": name, "commit": commit(), "full": full, "lean": lean, "rows": rows}
    write_whole(
        RESULTS / f"{name}.json",
        (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode(),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder with the trained weights")
    parser.add_argument("--networks", nargs="+", required=True, metavar="KIND-SEED")
    parser.add_argument("--full", action="store_true", help="every attack of the catalogue, and T3")
    parser.add_argument("--lean", action="store_true", help="fewer C&W images, without the variant always")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    splits = load_splits(options.data)
    for name in options.networks:
        with progress_bars() as progress:
            evaluate(options.work, name, splits, full=options.full, lean=options.lean, progress=progress)
        print(f"{name}: {RESULTS / name}.json", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
