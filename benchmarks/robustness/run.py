"""The full protocol on the benchmark's networks.

    python -m benchmarks.robustness.train --kind vgg --out WORK       # and resnet, vit
    python -m benchmarks.robustness.train --kind cifar-vgg --seeds 1 --cifar DATA --out WORK  # and cifar-vit
    python -m benchmarks.robustness.run --work WORK --cifar DATA --networks cifar-resnet20 vgg-1 resnet-1 …

For every network: benign budgets are chosen on calibration images so that at most 0.5, 1.5 and 3.5 points of
accuracy are given up with 90 % confidence; a file is exported for each; the one of 1.5 points faces
T1, T2 and T4, the others the gray-box attacks that count; baselines and ablations get the same budget.
Attacks are kept in WORK and not made twice. --full adds the queries, and variants whose perturbations have to
be found anew, to the file of 1.5 points; --lean takes fewer images; --brief makes gray-box and a few adaptive
attacks, and leaves out the baseline that needs many passes an image (odds under noise); --few compares with
what matters most alone: re-encoding, a mirrored pass, and the file without one of its parts. --attacks-only
makes the gray-box attacks and stops.
DATA holds the CIFAR-10 files and the third-party weights (see cifar_splits.py); names of the networks trained
here end in their seed. Writes benchmarks/results/robustness/NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.robustness.cifar_networks import MEAN as CIFAR_MEAN
from benchmarks.robustness.cifar_networks import STD as CIFAR_STD
from benchmarks.robustness.cifar_splits import CLASS_NAMES as CIFAR_NAMES
from benchmarks.robustness.cifar_splits import load_cifar_splits
from benchmarks.robustness.networks import FACTORIES, Kind, kind_of
from benchmarks.robustness.results import REENCODED
from benchmarks.robustness.splits import Splits, load_splits
from benchmarks.robustness.train import weights_path
from nip_evaluate.baselines import (
    LABEL_AGREEMENT,
    Laboratory,
    VariantKind,
    detector_fits,
    logits_of,
    odds_name,
)
from nip_evaluate.baselines.memory import Memory
from nip_evaluate.baselines.transforms import transformations
from nip_evaluate.given.material import Material
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.target import Undefended
from nip_evaluate.report.numbers import to_json
from nip_evaluate.run import run_evaluation
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.stages.contenders import ODDS_SAMPLES
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.config import ExportConfig
from nip_export.data import ImageSet, to_model_input
from nip_export.demo.build_assets import CLASS_NAMES, DATA_DIR, Labelled
from nip_export.demo.model import MEAN, STD
from nip_export.fit.benign import at_the_door
from nip_export.fit.prepared import inverse_bank
from nip_export.network.run import tapped_network
from nip_export.pipeline import Prepared, prepare_defence, write_defended
from nip_export.support.progress import Progress, progress_bars
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "robustness"
LIMITS = (0.005, 0.015, 0.035)
"""Accuracy that may be given up."""
MAIN = 0.015
ATTACKED, LEAN_ATTACKED = 500, 300
CAPS = {"C&W": 200, "APGD-DLR": 300, "T4": 60, "HopSkipJump": 50, "Boundary": 50, "Square": 100}
"""Attacks that cost most get fewer images."""
BRIEF_T4 = 24
LEAN_CAPS = CAPS | {"C&W": 150, "APGD-DLR": 150, "T4": 40}
EPS = {False: (8 / 255, 25 / 255), True: (2 / 255, 8 / 255)}
"""ε of the adaptive attacks on Fashion-MNIST and on CIFAR-10."""
SURROGATES = {
    Kind.VGG: "resnet-1",
    Kind.RESNET: "vgg-1",
    Kind.VIT: "vgg-1",
    Kind.CIFAR_RESNET20: "cifar-vgg-1",
    Kind.CIFAR_RESNET56: "cifar-vgg-1",
    Kind.CIFAR_VGG: "cifar-resnet20",
    Kind.CIFAR_VIT: "cifar-resnet20",
    Kind.CIFAR_MOBILE: "cifar-resnet20",
}
REMADE = (VariantKind.ALWAYS, VariantKind.SHUFFLED_PROFILES)
"""Variants whose perturbations are found anew: only a full run has them."""
FEW = (
    VariantKind.FILE,
    VariantKind.EVERY_ROW,
    VariantKind.WITH_RHO,
    VariantKind.WITHOUT_RHO,
    VariantKind.ROUND_TRIP,
    VariantKind.NO_ROUND_TRIP,
    VariantKind.NO_GRAIN,
    VariantKind.RESPONSE_ALONE,
    VariantKind.NO_RESPONSE,
    VariantKind.EARLY_ALONE,
    VariantKind.TYPICALITY_ALONE,
)
FEW_OTHERS = (REENCODED, LABEL_AGREEMENT)
"""With what --few compares."""


@dataclass(frozen=True)
class Folders:
    """Where things are: trained weights and finished attacks; Fashion-MNIST; CIFAR-10 and public weights."""

    work: Path
    fashion: Path
    cifar: Path | None

    def splits(self, kind: Kind) -> Splits:
        """The images of a kind of network."""
        if not kind.is_cifar:
            return load_splits(self.fashion)
        if self.cifar is None:
            raise FileNotFoundError(f"{kind} needs CIFAR-10: name its folder with --cifar")
        return load_cifar_splits(self.cifar)


def load_network(folders: Folders, name: str) -> nn.Module:
    """A trained network such as "vgg-1"."""
    kind = kind_of(name)
    model = FACTORIES[kind]()
    if kind in (Kind.CIFAR_RESNET20, Kind.CIFAR_RESNET56):
        model.load_state_dict(public_weights(folders.cifar, name.removeprefix("cifar-")))
        return model.eval()
    seed = int(name.removesuffix("-pgd").rpartition("-")[2])
    path = weights_path(folders.work, kind, seed, adversarial=name.endswith("-pgd"))
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval()


def public_weights(folder: Path | None, name: str) -> dict[str, torch.Tensor]:
    """The third-party weights of a network, by the names of its parameters."""
    found = sorted((folder / "weights").glob(f"{name}-*.th")) if folder is not None else []
    if not found:
        raise FileNotFoundError(
            f"weights/{name}-*.th are absent; name the folder that holds them with --cifar"
        )
    stored = torch.load(found[0], map_location="cpu", weights_only=True)["state_dict"]
    return {key.removeprefix("module."): value for key, value in stored.items()}


def normalisation(kind: Kind) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a kind of network takes."""
    return (CIFAR_MEAN, CIFAR_STD) if kind.is_cifar else (MEAN, STD)


def material_of(folders: Folders, name: str) -> Material:
    """The network, its surrogate and its images; the first test images are attacked."""
    kind = kind_of(name)
    splits, names = folders.splits(kind), CIFAR_NAMES if kind.is_cifar else CLASS_NAMES

    def image_set(data: Labelled) -> ImageSet:
        return ImageSet(data.images, data.labels, names)

    test, further = splits.test, splits.further
    every = Labelled(
        np.concatenate([test.images, further.images]), np.concatenate([test.labels, further.labels])
    )
    try:
        surrogate = load_network(folders, SURROGATES[kind])
    except FileNotFoundError as error:
        print(f"{name}: no transfer attacks ({error})", flush=True)
        surrogate = None
    return Material(
        model=load_network(folders, name),
        test=image_set(every),
        surrogate=surrogate,
        profile=image_set(splits.profile),
        calibration=image_set(splits.calibration),
    )


def plan_of(
    limit: float,
    kind: Kind,
    *,
    full: bool,
    lean: bool = False,
    brief: bool = False,
    queries: bool = False,
) -> EvaluationPlan:
    """Which attacks a file faces."""
    without = () if full and limit == MAIN else tuple(map(str, REMADE))
    if kind.is_cifar:  # seventeen passes for every image
        without = (*without, odds_name(16))
    caps = LEAN_CAPS if lean else CAPS
    counted = ("natural", "PGD 16/255") if kind.is_cifar else ("core", *CURVE)
    threats: tuple[Threat, ...] = (Threat.GRAY_BOX,)
    if brief:
        without = (*without, *map(odds_name, ODDS_SAMPLES))
        caps = caps | {"T4": BRIEF_T4}
    if limit == MAIN:
        threats = (
            (Threat.GRAY_BOX, Threat.ADAPTIVE) if brief else (*threats, Threat.TRANSFER, Threat.ADAPTIVE)
        )
        threats = tuple(Threat) if full or queries else threats
    return EvaluationPlan(
        threats=threats,
        attacks=counted,
        images=LEAN_ATTACKED if lean else ATTACKED,
        caps=caps,
        without=without,
        adaptive_eps=EPS[kind.is_cifar],
    )


CURVE = ("PGD 2/255", "PGD 4/255", "PGD 16/255")
"""What the curve over ε needs besides the attacks that count on Fashion-MNIST."""


def prepare(material: Material, kind: Kind, progress: Progress, *, view: str = "auto") -> Prepared:
    """All of the defence but its thresholds, with default settings but for the view."""
    mean, std = normalisation(kind)
    assert material.profile is not None and material.calibration is not None
    return prepare_defence(
        material.model,
        material.profile.images,
        material.profile.labels,
        calibration=(material.calibration.images, material.calibration.labels),
        config=ExportConfig(mean=mean, std=std, class_names=material.profile.class_names, view=view),
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


def left_out(laboratory: Laboratory) -> tuple[str, ...]:
    """Names of all baselines that a run with --few does without."""
    bench = laboratory.bench
    detectors = detector_fits(logits_of(Undefended(bench.network)), bench)
    every = (*VariantKind, *(each.name for each in transformations()), LABEL_AGREEMENT, *detectors)
    return tuple(str(each) for each in every if each not in (*FEW, *FEW_OTHERS))


def evaluate(
    folders: Folders,
    name: str,
    *,
    full: bool,
    lean: bool,
    brief: bool,
    few: bool,
    queries: bool,
    progress: Progress,
) -> None:
    """Export and evaluate one network at all limits."""
    kind, work = kind_of(name), folders.work
    material = material_of(folders, name)
    prepared = prepare(material, kind, progress)
    bench = prepared.bench
    probe = write_defended(prepared, work / f"{name}.nip.onnx")
    print(f"{name}:\n{probe.summary()}", flush=True)
    assert material.profile is not None
    rho = prepared.rho
    if not rho.adds:  # the export had no use for it, but variants add it
        rho = inverse_bank(bench, prepared.profiles[bench.plan.features])
    laboratory = Laboratory(
        material.model,
        at_the_door(material.profile),
        bench.calibration,
        bench.config,
        given=probe.spec,
        rho=rho,
        progress=progress,
    )
    rows, memory = [], Memory()
    without = left_out(laboratory) if few else ()
    for limit in LIMITS:
        budget = laboratory.budget_for_cost(VariantKind.FILE, limit)
        path = work / f"{name}-{limit:g}.nip.onnx"
        write_defended(prepared, path, benign_budget=budget)
        plan = plan_of(limit, kind, full=full, lean=lean, brief=brief, queries=queries)
        evaluation = run_evaluation(
            path,
            material,
            work / f"{name}-{limit:g}",
            plan=replace(plan, without=(*plan.without, *without)),
            laboratory=laboratory,
            store=AttackStore(work / "attacks"),
            memory=memory,
            progress=progress,
        )
        print(f"{name} at {limit:g}: mean DSR {evaluation.mean_dsr}", flush=True)
        rows.append(row_of(limit, budget, evaluation))
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"network": name, "commit": commit(), "full": full, "lean": lean, "brief": brief, "few": few}
    content["rows"] = rows
    write_whole(
        RESULTS / f"{name}.json",
        (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode(),
    )


def attack(folders: Folders, name: str, *, lean: bool, progress: Progress) -> None:
    """Make the gray-box attacks of a network, for a later run."""
    kind = kind_of(name)
    plan, splits = plan_of(MAIN, kind, full=False, lean=lean), folders.splits(kind)
    mean, std = normalisation(kind)
    images = to_model_input(splits.test.images, 3 if kind.is_cifar else 1)[: plan.images]
    model = load_network(folders, name).requires_grad_(False)
    network = tapped_network(model, torch.from_numpy(images[:2].copy()), [], mean=mean, std=std).eval()
    crafter = Crafter(
        AttackStore(folders.work / "attacks"), images, splits.test.labels[: plan.images], plan.seed, progress
    )
    for case in planned_cases(plan)[Threat.GRAY_BOX]:
        (made,) = crafter.craft([case], Undefended(network).eval())
        print(f"{name}: {case.name}, {len(made.images)} images, {made.seconds:.0f} s", flush=True)


def check_names(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """End with one line if a name is none of a network's, before hours are spent on the others."""
    for name in names:
        try:
            kind_of(name)
        except ValueError:
            kinds = ", ".join(kind.value for kind in Kind)
            parser.error(f"--networks: expected kinds and seeds such as vgg-1 (kinds: {kinds}), got {name!r}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder with the trained weights")
    parser.add_argument("--networks", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--full", action="store_true", help="T3, and variants found anew")
    parser.add_argument("--lean", action="store_true", help="fewer images")
    parser.add_argument("--brief", action="store_true", help="few adaptive attacks, no odds under noise")
    parser.add_argument("--few", action="store_true", help="compare with few others")
    parser.add_argument("--queries", action="store_true", help="T2 and T3, without what else --full adds")
    parser.add_argument("--attacks-only", action="store_true", help="make gray-box attacks and stop")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    parser.add_argument("--cifar", type=Path, help="folder of cifar10-test.npz and weights/")
    options = parser.parse_args(arguments)
    check_names(parser, options.networks)
    torch.set_num_threads(1)
    folders = Folders(options.work, options.data, options.cifar)
    for name in options.networks:
        # The plain form of attention: its fused form's gradient takes twice as long on CPUs.
        with progress_bars() as progress, sdpa_kernel(SDPBackend.MATH):
            if options.attacks_only:
                attack(folders, name, lean=options.lean, progress=progress)
                continue
            evaluate(
                folders,
                name,
                full=options.full,
                lean=options.lean,
                brief=options.brief,
                few=options.few,
                queries=options.queries,
                progress=progress,
            )
        print(f"{name}: {RESULTS / name}.json", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
