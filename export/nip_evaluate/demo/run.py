"""The demo from end to end: the embedded example is exported, and the file evaluated on a small plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from nip_evaluate.demo.paths import DemoPaths
from nip_evaluate.demo.summary import summarise
from nip_evaluate.given.material import Material
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.report.ui_examples import write_ui_examples
from nip_evaluate.run import run_evaluation
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.config import ExportConfig
from nip_export.demo.example import Example, load_example
from nip_export.pipeline import export_defended
from nip_export.support.progress import Progress, silent
from nip_runtime.errors import InputError
from nip_runtime.support.writing import write_whole

PLAN = EvaluationPlan(
    threats=(Threat.GRAY_BOX, Threat.ADAPTIVE),
    attacks=("FGSM 8/255", "PGD 8/255", "PGD 25/255", "DeepFool", "C&W κ=0"),
    quick=True,
    adaptive_images=100,
    baselines=False,
    caps={"C&W": 100},
)
"""What two to three minutes are enough for: all test images against the quick gray-box attacks, fewer against
those that take long. `nip evaluate` does the rest."""


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    example: Example | None = None,
    plan: EvaluationPlan = PLAN,
    config: ExportConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Export the example and evaluate the file; everything named in :class:`DemoPaths` is written.

    Args:
        out: folder to write to; made if absent, and its files of the same names replaced. Finished attacks
            are kept there: a second run takes them up where file, images and seed are the same.
        seed: seeds export and attacks, whatever `plan` says.
        example: network and images; by default the embedded ones.
        plan: what the evaluation does.
        config: settings of the export; by default the policy `guarded` with the example's normalisation.
        progress: called with title and amount of work of every stage.

    Raises:
        InputError: `out` is a file, or the package's assets are missing.
        ExportError: the export failed, or an attack broke its own rules.
        DependencyError: onnxruntime is missing.
    """
    if out.exists() and not out.is_dir():
        raise InputError.mismatch(
            expected="a folder to write to", got=f"the file {out}", fix="name another with --out"
        )
    plan = replace(plan, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    paths = DemoPaths(out)
    example = load_example() if example is None else example
    report = export_defended(
        example.model,
        example.profile.images,
        example.profile.labels,
        paths.model,
        calibration=(example.calibration.images, example.calibration.labels),
        config=_default_config(example, seed) if config is None else config,
        plain_path=paths.plain,
        progress=progress,
    )
    write_ui_examples(report, example.test, example.profile, seed=seed, progress=progress)
    evaluation = run_evaluation(paths.model, material_of(example), out, plan=plan, progress=progress)
    summary = json.dumps(summarise(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(paths.summary, f"{summary}\n".encode())
    return evaluation


def material_of(example: Example) -> Material:
    """The example as an evaluation takes it."""
    return Material(
        model=example.model,
        test=example.test,
        surrogate=example.surrogate,
        profile=example.profile,
        calibration=example.calibration,
    )


def _default_config(example: Example, seed: int) -> ExportConfig:
    return ExportConfig(
        mean=example.mean,
        std=example.std,
        class_names=example.class_names,
        seed=seed,
    )
