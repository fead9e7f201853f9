"""The demo from end to end: export, attack, defend, measure, report."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nip_export.config import ExportConfig
from nip_export.data import to_model_input
from nip_export.demo.adaptive import ADAPTIVE_CASES, attack_defence
from nip_export.demo.attacks import CASES, AttackCase, Attacked, run_attack
from nip_export.demo.example import Example, load_example
from nip_export.demo.gallery import make_gallery
from nip_export.demo.latency import measure_latency
from nip_export.demo.report import Sizes, render_report
from nip_export.demo.scores import (
    AdaptiveScore,
    DemoScores,
    LatencyScore,
    score_adaptive,
    score_attack,
    score_benign,
)
from nip_export.pipeline import export_defended
from nip_export.progress import Progress, silent
from nip_export.report import ExportReport
from nip_export.verify import DefendedTwin
from nip_export.writing import write_whole
from nip_runtime.errors import InputError
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession

SHOWN_ATTACK = "PGD 8/255"
LATENCY_BATCHES = (1, 32)


@dataclass(frozen=True)
class DemoPaths:
    """The files of one demo, all in one folder."""

    folder: Path

    @property
    def model(self) -> Path:
        """The exported file."""
        return self.folder / "model.nip.onnx"

    @property
    def plain(self) -> Path:
        """The undefended backbone, exported the same way."""
        return self.folder / "plain.onnx"

    @property
    def summary(self) -> Path:
        """The table's numbers as JSON."""
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.folder / "report.html"


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    example: Example | None = None,
    cases: Sequence[AttackCase] = CASES,
    config: ExportConfig | None = None,
    progress: Progress = silent,
) -> DemoScores:
    """Run the demo and write model, plain model, summary and report into `out`.

    Args:
        out: folder to write to; made if absent, and its files of the same names replaced.
        seed: seeds export and attacks.
        example: network and images; by default the embedded ones.
        cases: attacks to run; at least one.
        config: settings of the export; by default the policy `guarded` with the example's normalisation.
        progress: called with title and amount of work of every stage.

    Returns:
        The numbers written to summary.json.

    Raises:
        InputError: `out` is a file, or the package's assets are missing.
        ExportError: the export failed.
        DependencyError: onnxruntime is missing.
    """
    if out.exists() and not out.is_dir():
        raise InputError.mismatch(
            expected="a folder to write to", got=f"the file {out}", fix="name another with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    paths = DemoPaths(out)
    example = load_example() if example is None else example
    config = _default_config(example, seed) if config is None else config
    report = export_defended(
        example.model,
        example.profile.images,
        example.profile.labels,
        paths.model,
        calibration=(example.calibration.images, example.calibration.labels),
        config=config,
        plain_path=paths.plain,
        progress=progress,
    )
    images, labels = to_model_input(example.test.images, len(example.mean)), example.test.labels
    attacked = [_attack(case, example, images, seed=seed, progress=progress) for case in cases]

    advance = progress("running the exported file", 1 + len(attacked))
    with DefendedSession(paths.model, device="cpu") as session:
        benign = session.predict(images)
        advance(1)
        predictions = []
        for result in attacked:
            predictions.append(session.predict(result.images))
            advance(1)
    adaptive = _adaptive(paths, report, attacked, predictions, images, labels, seed=seed, progress=progress)
    latency = _latency(paths, images, progress)

    advance = progress("writing the report", 1)
    scores = DemoScores(
        benign=score_benign(benign, labels),
        attacks=tuple(
            score_attack(result, benign=benign, prediction=prediction, labels=labels)
            for result, prediction in zip(attacked, predictions, strict=True)
        ),
        adaptive=adaptive,
        latency=latency,
        seed=seed,
        policy=str(report.manifest.policy),
    )
    shown = next((i for i, result in enumerate(attacked) if result.case.name == SHOWN_ATTACK), 0)
    gallery = make_gallery(example, report, attacked[shown], benign=benign, prediction=predictions[shown])
    sizes = Sizes(plain=paths.plain.stat().st_size, defended=paths.model.stat().st_size)
    html = render_report(scores, report.manifest, gallery, sizes=sizes)
    write_whole(paths.report, html.encode())
    write_whole(paths.summary, (json.dumps(scores.to_summary(), indent=2) + "\n").encode())
    advance(1)
    return scores


def _default_config(example: Example, seed: int) -> ExportConfig:
    return ExportConfig(
        mean=example.mean,
        std=example.std,
        class_names=example.class_names,
        seed=seed,
    )


def _attack(
    case: AttackCase, example: Example, images: npt.NDArray[np.float32], *, seed: int, progress: Progress
) -> Attacked:
    count = len(images) if case.images is None else min(case.images, len(images))
    return run_attack(
        case,
        example.model,
        images[:count],
        example.test.labels[:count],
        mean=example.mean,
        std=example.std,
        seed=seed,
        advance=progress(f"attack: {case.name}", count),
    )


def _adaptive(
    paths: DemoPaths,
    report: ExportReport,
    attacked: Sequence[Attacked],
    predictions: Sequence[Prediction],
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    *,
    seed: int,
    progress: Progress,
) -> tuple[AdaptiveScore, ...]:
    """Attack the defence itself, wherever the gray-box attack to start from was run."""
    # A copy: the twin holds the example's own network, whose parameters stay as they are.
    twin = copy.deepcopy(DefendedTwin(report.network, report.spec)).requires_grad_(False)
    ran = {result.case.name: (result, answers) for result, answers in zip(attacked, predictions, strict=True)}
    scores = []
    for case in ADAPTIVE_CASES:
        if case.gray_box not in ran:
            continue
        start, gray_box = ran[case.gray_box]
        count = min(case.images, len(gray_box))
        moved = attack_defence(
            case,
            twin,
            images[:count],
            labels[:count],
            warm_start=start.images[:count],
            seed=seed,
            advance=progress(f"attack: {case.name}", count),
        )
        with DefendedSession(paths.model, device="cpu") as session:
            prediction = session.predict(moved)
        scores.append(score_adaptive(case, gray_box=gray_box, prediction=prediction, labels=labels))
    return tuple(scores)


def _latency(
    paths: DemoPaths, images: npt.NDArray[np.float32], progress: Progress
) -> tuple[LatencyScore, ...]:
    advance = progress("measuring latency", len(LATENCY_BATCHES))
    scores = []
    for batch in LATENCY_BATCHES:
        scores.append(measure_latency(paths.plain, paths.model, images, batch=min(batch, len(images))))
        advance(1)
    return tuple(scores)
