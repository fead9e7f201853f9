"""The export from end to end: benign images and a trained model in, one verified file out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nip_export import statistics
from nip_export.attach.assemble import attach_defence, plain_backbone
from nip_export.attach.backbone import export_backbone
from nip_export.bench import Bench, set_up
from nip_export.benign import prepare
from nip_export.calibrate import Calibration, calibrate
from nip_export.config import ExportConfig, PerturbationMethod
from nip_export.decision import read_gate
from nip_export.describe import Measured, describe
from nip_export.layers import choose_readouts
from nip_export.perturbations import InverseObjective, ascend, one_step, quantise
from nip_export.profiles import InfluenceProfile
from nip_export.progress import Progress, silent
from nip_export.report import ExportReport
from nip_export.spec import Bank, DefenceSpec, ReadOut
from nip_export.verify import Comparison, DefendedTwin, verify_file
from nip_export.verify.oracle import perturb
from nip_export.writing import check_target, replacing, serialise, with_manifest, write_whole
from nip_runtime.manifest import Policy
from nip_runtime.session import DefendedSession

_log = logging.getLogger(__name__)

VERIFICATION_IMAGES = 17


def export_defended(
    model: nn.Module,
    images: NDArray[Any],
    labels: NDArray[Any] | Sequence[int],
    path: str | Path,
    *,
    calibration: tuple[NDArray[Any], NDArray[Any] | Sequence[int]] | None = None,
    config: ExportConfig | None = None,
    plain_path: str | Path | None = None,
    progress: Progress = silent,
) -> ExportReport:
    """Turn a trained classifier and benign images into one ONNX file that defends itself.

    The file is written beside `path`, verified there against torch and numpy, and only then takes its place:
    whatever fails, a file that stood at `path` before still stands there.

    Args:
        model: classifier from (N, *shape) to logits (N, C). Mode, gradients and parameters stay as they are.
        images: benign images, better not those it was trained on: uint8 (N, H, W) or (N, H, W, C), RGB,
            or float32 (N, *shape) in [0, 1], (N, C, H, W) for images.
        labels: (N,) whole numbers, the classes.
        path: the file to write.
        calibration: images and labels for the thresholds, disjoint from `images`; by default a stratified
            share of `images` is held out.
        config: settings; the defaults of :class:`ExportConfig` if absent.
        plain_path: also write the backbone alone, exported the same way, for comparison.
        progress: called with title and amount of work of every stage.

    Returns:
        What was made, measured and verified.

    Raises:
        ExportError: the model, its taps or the settings do not fit, too few images are classified correctly,
            or the file does not compute what torch does.
        InputError: images or labels of the wrong form.
    """
    began = time.perf_counter()
    config = config if config is not None else ExportConfig()
    target = Path(path)
    check_target(target)
    if plain_path is not None:
        check_target(Path(plain_path))
    profile, held_out = prepare(images, labels, calibration, config)
    bench = set_up(model, profile, held_out, config, progress)
    readouts, layers = choose_readouts(
        bench.early_grids,
        bench.profile_pass,
        bench.profile.labels,
        bench.calibration_pass,
        held_out.labels,
        count=config.early_readouts,
    )
    profiles = bench.influence_profiles()
    bank = inverse_bank(bench, profiles[bench.plan.features])
    calibration_result, perturbed = calibrate_gate(bench, readouts, bank)
    spec = DefenceSpec(
        policy=Policy(config.policy),
        classes=bench.classes,
        bounds=bench.bounds,
        readouts=readouts,
        gate=calibration_result.gate,
        bank=bank,
    )
    stage = progress("Export and attach", 1)
    backbone = export_backbone(
        model,
        bench.example,
        [readout.tap for readout in readouts],
        input_name=config.input_name,
        output_name=config.output_name,
        mean=config.mean,
        std=config.std,
    )
    plain = serialise(plain_backbone(backbone))
    opset = backbone.opset
    content = serialise(attach_defence(backbone, spec, {tap.name: tap for tap in bench.plan.layers}))
    stage(1)
    with replacing(target) as temporary:
        temporary.write_bytes(content)
        comparison = verify(bench, spec, temporary, perturbed)
        measured = Measured(calibration_result, comparison, opset=opset)
        manifest = describe(bench, spec, measured, content, model)
        temporary.write_bytes(with_manifest(content, manifest))
        # The file as it will stand, through the front door: manifest, digests and graph agree.
        with DefendedSession(temporary, device="cpu") as session:
            session.predict(held_out.inputs[:1])
        if plain_path is not None:
            write_whole(Path(plain_path), plain)
    _log.info("wrote %s", target)
    return ExportReport(
        path=target,
        manifest=manifest,
        size_bytes=target.stat().st_size,
        plain_size_bytes=len(plain),
        layers=layers,
        comparison=comparison,
        plan=bench.plan,
        profiles=profiles,
        spec=spec,
        network=bench.network,
        seconds=time.perf_counter() - began,
    )


def inverse_bank(bench: Bench, profile: InfluenceProfile) -> Bank:
    """The inverse perturbations that the policy adds: one per class for ``always``, else a universal one."""
    config = bench.config
    objective = InverseObjective(
        network=bench.network,
        tap=bench.plan.tap(bench.plan.features),
        profile=profile,
        inputs=bench.profile.inputs,
        labels=bench.profile.labels,
        bounds=bench.bounds,
        device=bench.device,
    )
    per_class = config.policy is Policy.ALWAYS
    if config.perturbation is PerturbationMethod.ONE_STEP:
        stage = bench.progress("Inverse perturbations", len(bench.profile.inputs))
        coarse = one_step(
            objective, per_class=per_class, eps=config.eps, batch_size=config.batch_size, advance=stage
        )
    else:
        stage = bench.progress("Inverse perturbations", config.ascent_steps)
        coarse = ascend(
            objective,
            per_class=per_class,
            eps=config.eps,
            steps=config.ascent_steps,
            batch_size=config.batch_size,
            seed=config.seed,
            advance=stage,
        )
    return quantise(coarse, eps=config.eps, shape=bench.shape)


def calibrate_gate(
    bench: Bench, readouts: Sequence[ReadOut], bank: Bank
) -> tuple[Calibration, NDArray[np.float32]]:
    """Pass 2 over the calibration images, and the gate fitted to both passes.

    Returns:
        The calibration, and the (N, C) logits of pass 2.
    """
    config = bench.config
    policy = Policy(config.policy)
    inputs, labels = bench.calibration.inputs, bench.calibration.labels
    early = statistics.evidence(readouts, bench.calibration_pass.pooled)
    moved = perturb(bank, bench.bounds, inputs, early.argmax(1), per_class=policy is Policy.ALWAYS)
    perturbed = bench.run(moved, "Response of calibration images").logits
    return calibrate(
        bench.calibration_pass,
        perturbed,
        labels,
        readouts,
        benign_budget=config.benign_budget,
        screen_rate=None if policy is Policy.ALWAYS else config.screen_rate,
        policy=policy,
        seed=config.seed,
    ), perturbed


def verify(bench: Bench, spec: DefenceSpec, path: Path, perturbed: NDArray[np.float32]) -> Comparison:
    """Compare the file with twin and oracle on benign images, half of them the most suspicious ones."""
    early = statistics.evidence(spec.readouts, bench.calibration_pass.pooled)
    reading = read_gate(spec.gate, early, bench.calibration_pass.logits, perturbed)
    # The highest scores first, so that the corrected branch is compared too; then others, evenly spread.
    by_score = np.argsort(-reading.score, kind="stable")
    count = min(VERIFICATION_IMAGES, len(by_score))
    suspicious = by_score[: count // 2]
    others = by_score[np.linspace(count // 2, len(by_score) - 1, count - len(suspicious)).astype(int)]
    rows = np.concatenate([suspicious, others])
    stage = bench.progress("Verify against torch and numpy", 1)
    twin = DefendedTwin(bench.network, spec)
    comparison = verify_file(
        path,
        spec,
        twin,
        bench.run,
        bench.calibration.inputs[rows],
        output_name=bench.config.output_name,
        device=bench.device,
    )
    stage(1)
    return comparison
