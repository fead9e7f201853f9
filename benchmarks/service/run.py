"""Attacks a service that answers labels only, through HTTP: defended, and with the same file's raw labels.

Writes benchmarks/results/service/NETWORK.json; benchmarks/service/table.py makes tables of them.

python -m benchmarks.service.run --work FOLDER                                 # the embedded example
python -m benchmarks.service.run --work FOLDER --network cifar-resnet20 --model FILE --cifar FOLDER
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.robustness.cifar_splits import load_cifar_splits
from benchmarks.robustness.networks import FACTORIES, Kind
from benchmarks.robustness.run import normalisation, public_weights
from benchmarks.service.attacks import ATTACKS, attack
from benchmarks.service.server import Running, serving
from benchmarks.service.victim import Client, LabelVictim, Record
from nip_evaluate.attacks import catalogue, run_attack
from nip_evaluate.attacks.transfer import transfer_cases
from nip_export.config import ExportConfig
from nip_export.data import to_model_input
from nip_export.demo.example import load_example
from nip_export.pipeline import export_defended
from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.support.writing import write_whole

RESULTS: Final = Path(__file__).resolve().parents[1] / "results" / "service"
DEMO, CIFAR = "demo", "cifar-resnet20"
QUESTIONS: Final = (500, 2000, 5000)
EPSILON: Final = {DEMO: {"l2": 1.5, "linf": 25 / 255}, CIFAR: {"l2": 0.5, "linf": 8 / 255}}
"""What counts as a success: as the attacks of the same norms within a budget."""
TRANSFERRED: Final = {
    CIFAR: ("FGSM 8/255", "MI-FGSM 8/255", "PGD 2/255", "PGD 4/255", "PGD 8/255"),
}
"""Attacks made on the surrogate; of other networks those that count."""
MOST_TRANSFERRED: Final = 500
"""Images of which those that both services know are attacked on the surrogate."""
SERVICES: Final = {"defended": (), "undefended": ("--raw",)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Target:
    """A network's file and images.

    Attributes:
        name: of the network.
        model: its defended file.
        images: (N, C, H, W) float32 in [0, 1], none of them seen by the network or the calibration.
        labels: (N,) int64.
        surrogate: another network of the same task, with its normalisation; None: there is none.
    """

    name: str
    model: Path
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    surrogate: nn.Module | None = None


class Normalised(nn.Module):
    """A network with its normalisation in front."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, C, H, W) in [0, 1]."""
        logits: torch.Tensor = self.network((images - self.mean) / self.std)
        return logits


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack one network's service; results are kept after every attack."""
    args = _parser().parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    # The victim's own watch, one for every image: its rows are kept, its warnings are not read.
    logging.getLogger("nip_runtime.observe.bursts").setLevel(logging.ERROR)
    try:
        target = demo(args.work) if args.network == DEMO else cifar(args.model, args.cifar)
    except (InputError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = args.out / f"{target.name}.json"
    content = {
        "network": target.name,
        "commit": _commit(),
        "benign_budget": read_artifact(target.model).manifest.calibration.benign_budget,
        "questions": list(QUESTIONS),
        "budget": args.questions,
        "epsilon": EPSILON[target.name],
        "attacks": {},
    }
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["budget"] == args.questions:  # further attacks of the same run
            content["attacks"] = before["attacks"]
            content |= {"transfer": before["transfer"]} if "transfer" in before else {}
    clean, truth = chosen(target, args.work, args.images)
    print(f"{target.name}: {len(truth)} images that both services know", flush=True)
    if target.surrogate is not None and "transfer" not in content:
        content["transfer"] = transferred(target, args.work)
        _write(path, content)
    for name in args.attacks:
        content["attacks"][name] = {
            "name": ATTACKS[name].name,
            "source": ATTACKS[name].source,
            "images": len(truth),
            "services": {
                service: attacked(target, service, name, clean, truth, args) for service in SERVICES
            },
        }
        _write(path, content)
    return 0


def demo(work: Path) -> Target:
    """The embedded example, exported as `nip demo` does; the file is kept in `work`."""
    example, model = load_example(), work / "demo.nip.onnx"
    if not model.is_file():
        export_defended(
            example.model,
            example.profile.images,
            example.profile.labels,
            model,
            calibration=(example.calibration.images, example.calibration.labels),
            config=ExportConfig(mean=example.mean, std=example.std, class_names=example.class_names, seed=0),
        )
    return Target(
        name=DEMO,
        model=model,
        images=to_model_input(example.test.images, 1),
        labels=example.test.labels,
        surrogate=Normalised(example.surrogate, example.mean, example.std),
    )


def cifar(model: Path | None, folder: Path | None) -> Target:
    """A file of benchmarks/robustness with the images that are attacked there.

    Raises:
        InputError: the file or the folder was not named.
    """
    if model is None or folder is None:
        raise InputError.mismatch(
            expected="--model and --cifar",
            got="one or none of them",
            fix="name the file and the images' folder",
        )
    test = load_cifar_splits(folder).test
    surrogate = FACTORIES[Kind.CIFAR_RESNET56]()
    surrogate.load_state_dict(public_weights(folder, "resnet56"))
    return Target(
        name=CIFAR,
        model=model,
        images=to_model_input(test.images, 3),
        labels=test.labels,
        surrogate=Normalised(surrogate, *normalisation(Kind.CIFAR_RESNET56)),
    )


def chosen(target: Target, work: Path, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first images that both services answer rightly, and their classes."""
    right = np.ones(min(len(target.labels), 3 * count), np.bool_)
    for service, options in SERVICES.items():
        log = work / f"choosing-{service}.log"
        with (
            serving(target.model, log, "--threads", "1", *options) as running,
            Client(running.port, name="chooser") as client,
        ):
            answers = client.labels(target.images[: len(right)])
        right &= answers == target.labels[: len(right)]
    rows = np.flatnonzero(right)[:count]
    return target.images[rows], target.labels[rows]


def attacked(
    target: Target,
    service: str,
    name: str,
    clean: NDArray[np.float32],
    truth: NDArray[np.int64],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """One attack on a fresh service: what it found, and what the operator saw."""
    began, log = time.perf_counter(), args.work / f"{target.name}-{name}-{service}.log"
    with (
        serving(target.model, log, "--threads", "1", "--watch-bursts", *SERVICES[service]) as running,
        Client(running.port, name=name) as client,
    ):
        images, labels = torch.from_numpy(clean), torch.from_numpy(truth)
        victim = LabelVictim(
            client,
            images,
            labels,
            classes=read_artifact(target.model).manifest.output.classes,
            budget=args.questions,
            seconds=60 * args.minutes,
        )
        started = attack(victim, ATTACKS[name], images, labels, seed=args.seed)
        seen = _seen(running)
    found = {
        "started": started,
        "asked": [record.asked for record in victim.records],
        "stuck": [record.is_stuck for record in victim.records],
        **_found(victim.records, EPSILON[target.name]),
        "burst_row": [record.burst_row for record in victim.records],
        "operator": seen,
        "seconds": round(time.perf_counter() - began, 1),
    }
    middle = np.median([row[-1] for row in found["l2"]])
    print(f"{target.name} {name} {service}: median L2 {middle:.3f}, {found['seconds']} s, {seen}", flush=True)
    return found


def _found(records: Sequence[Record], epsilon: dict[str, float]) -> dict[str, Any]:
    """Smallest changes after every number of questions, infinite ones as 1e9, and first successes."""
    smallest = [[record.smallest(count) for count in QUESTIONS] for record in records]
    return {
        "l2": [[min(round(l2, 5), 1e9) for l2, _ in row] for row in smallest],
        "linf": [[min(round(linf, 5), 1e9) for _, linf in row] for row in smallest],
        "first_l2": [record.first_within(l2=epsilon["l2"]) for record in records],
        "first_linf": [record.first_within(linf=epsilon["linf"]) for record in records],
    }


def _seen(running: Running) -> dict[str, Any]:
    """What the operator sees: counts, and after how many rows the watches warned."""
    metrics = running.metrics()
    return {
        "rows": int(sum(v for name, v in metrics.items() if name.startswith("nip_rows_total"))),
        "flagged": int(metrics["nip_flagged_rows_total"]),
        **running.warnings(),
    }


def transferred(target: Target, work: Path) -> list[dict[str, Any]]:
    """Attacks crafted on the surrogate alone, then asked once: of images that both services know."""
    assert target.surrogate is not None
    most = replace(target, images=target.images[:MOST_TRANSFERRED], labels=target.labels[:MOST_TRANSFERRED])
    clean, truth = chosen(most, work, MOST_TRANSFERRED)
    names = TRANSFERRED.get(target.name)
    cases = [case if names is None else replace(case, core=case.name in names) for case in catalogue()]
    crafted = {
        case.name: run_attack(case, target.surrogate, clean, truth, seed=0).images
        for case in transfer_cases(cases)
    }
    found: dict[str, dict[str, Any]] = {name: {"images": len(truth), "wrong": {}} for name in crafted}
    for service, options in SERVICES.items():
        log = work / f"{target.name}-transfer-{service}.log"
        with (
            serving(target.model, log, "--threads", "1", *options) as running,
            Client(running.port, name="transfer") as client,
        ):
            for name, images in crafted.items():
                before = _seen(running)["flagged"]
                found[name]["wrong"][service] = int((client.labels(images) != truth).sum())
                found[name]["flagged"] = _seen(running)["flagged"] - before  # by the gate, which both have
    return [{"name": name, **numbers} for name, numbers in found.items()]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json.dumps(content, ensure_ascii=False)}\n".encode())


def _commit() -> str:
    """The commit that this is, with a + if files differ from it."""

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=RESULTS.parents[2], capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the exported file and logs")
    parser.add_argument("--network", choices=(DEMO, CIFAR), default=DEMO)
    parser.add_argument("--model", type=Path, help=f"the defended file of {CIFAR}")
    parser.add_argument("--cifar", type=Path, help="folder with cifar10-test.npz and cifar10-train.npz")
    parser.add_argument("--images", type=int, default=40, help="attacked (default 40)")
    parser.add_argument("--questions", type=int, default=QUESTIONS[-1], help="for each image (default 5000)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each attack on each service")
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
