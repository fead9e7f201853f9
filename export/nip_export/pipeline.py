"""The export from end to end: benign images and a trained model in, one verified file out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nip_export.attach.assemble import attach_defence, plain_backbone
from nip_export.attach.backbone import Backbone
from nip_export.attach.writing import serialise, with_manifest
from nip_export.calibrate import Calibration, Known, calibrate
from nip_export.calibrate.screen import ScreenCost, probes, sent_on
from nip_export.config import ExportConfig, PaddingRow
from nip_export.data.gathering import Given, Labels
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.defence.spec import DefenceSpec, Gate, ReadOut
from nip_export.fit import stages
from nip_export.fit.bench import Bench
from nip_export.fit.opinion import known_of
from nip_export.fit.prepared import (
    Prepared,
    chosen_view,
    in_precision,
    inverse_bank,
    inverse_perturbations,
    prepare_defence,
    second_pass,
)
from nip_export.network.run import Passed, TapCells
from nip_export.precision.network import OnnxBackbone
from nip_export.self_test import self_test
from nip_export.support.device import device_of, placed, usual_modes
from nip_export.support.progress import Progress, silent
from nip_export.verify import Comparison, DefendedTwin, verify_file
from nip_export.verify.cuts import fails_without_rows
from nip_export.verify.oracle import Forward, look_again
from nip_export.verify.tolerance import EXACT, HALF
from nip_export.write.describe import Measured, describe
from nip_export.write.report import ExportReport
from nip_export.write.worth import check_worth, verdict_of
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy, Precision
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import check_target, replacing, write_whole

__all__ = [
    "Prepared",
    "calibrate_gate",
    "chosen_view",
    "export_defended",
    "in_precision",
    "inverse_bank",
    "inverse_perturbations",
    "known_of",
    "prepare_defence",
    "second_pass",
    "verify",
    "write_defended",
]

_log = logging.getLogger(__name__)

VERIFICATION_IMAGES = 17


def export_defended(
    model: nn.Module,
    images: Given,
    labels: Labels,
    path: str | Path,
    *,
    calibration: tuple[Given, Labels] | None = None,
    config: ExportConfig | None = None,
    plain_path: str | Path | None = None,
    progress: Progress = silent,
    resume: str | Path | None = None,
    device: str | None = None,
) -> ExportReport:
    """Turn a trained classifier and benign images into one ONNX file that defends itself.

    The file is written beside `path`, verified there against torch and numpy, and only then takes its place:
    whatever fails, a file that stood at `path` before still stands there. In another precision than fp32 the
    backbone is converted before anything is calibrated on it; numpy stays the exact reference, and how far
    the converted network agrees with torch is measured and written into the manifest.

    Args:
        model: classifier from (N, *shape) to logits (N, C). Mode, gradients and parameters stay as they are.
        images: benign images, preferably not those it was trained on: uint8 (N, H, W) or (N, H, W, C), RGB,
            or float32 (N, *shape) within the bounds of `config`, (N, C, H, W) for images; or, one after
            another, an iterable of such images or of pairs (image, label), or a DataLoader. What does not fit
            into a little memory is kept in a temporary file.
        labels: (N,) whole numbers, the classes; None where `images` brings them, or where there are none: the
            network's own predictions then stand in, and accuracies are agreement with it.
        path: the file to write.
        calibration: images and labels for the thresholds, disjoint from `images`; by default a stratified
            share of `images` is held out.
        config: settings; the defaults of :class:`ExportConfig` if absent.
        plain_path: also write the backbone alone, exported the same way, for comparison.
        progress: called with title and amount of work of every stage.
        resume: folder in which passes, profiles and perturbations are kept as they are finished. An export
            that was stopped goes on there when it is called again; another one is refused. The folder may be
            removed once the file stands.
        device: where torch works: cpu, cuda or cuda:1; None: where the model is. Afterwards the model is
            where it was.

    Returns:
        What was made, measured and verified.

    Raises:
        ExportError: the model, its taps, the settings or the device do not fit, too few images are classified
            correctly, converting breaks the model, or the file does not compute what it should.
        InputError: images or labels of the wrong form.
    """
    target = Path(path)
    check_target(target, error=ExportError)
    if plain_path is not None:
        check_target(Path(plain_path), error=ExportError)
    with usual_modes(), placed(model, device):
        prepared = prepare_defence(
            model,
            images,
            labels,
            calibration=calibration,
            config=config,
            progress=progress,
            is_last_budget=True,
            resume=resume,
        )
        report = write_defended(prepared, target, plain_path=plain_path)
    report.network.to(device_of(model))
    return report


def write_defended(
    prepared: Prepared,
    path: str | Path,
    *,
    benign_budget: float | None = None,
    plain_path: str | Path | None = None,
) -> ExportReport:
    """Cut the thresholds and write the file; see :func:`export_defended`.

    Args:
        prepared: all but the thresholds.
        path: the file to write.
        benign_budget: instead of the one in the settings.
        plain_path: also write the backbone alone.

    Raises:
        ExportError: too few images to keep the budget, a file that would defend nothing, or one that does not
            compute what torch does.
    """
    began = time.perf_counter()
    target, bench = Path(path), prepared.bench
    check_target(target, error=ExportError)
    if benign_budget is not None:
        bench = replace(bench, config=replace(bench.config, benign_budget=benign_budget))
    config = bench.config
    calibration = calibrate_gate(bench, prepared.known, prepared.second)
    verdict = verdict_of(prepared, bench, calibration)
    check_worth(config, calibration, verdict, is_labelled=bench.calibration.is_labelled)
    spec = DefenceSpec(
        policy=Policy(config.policy),
        classes=bench.classes,
        bounds=bench.bounds,
        readouts=prepared.known.readouts,
        typicality=prepared.known.typicality,
        gate=calibration.gate,
        view=prepared.view,
        bank=prepared.bank,
    )
    screen = screen_cost(prepared, calibration.gate)
    stage = bench.progress(stages.ATTACH, 1)
    backbone = prepared.backbone()
    forward = forward_of(bench, backbone, prepared.known.readouts)
    plain = serialise(plain_backbone(backbone))
    opset = backbone.opset
    content, padding_row = defended(bench, backbone, spec)
    stage(1)
    with replacing(target, error=ExportError) as temporary:
        temporary.write_bytes(content)
        comparison = verify(bench, spec, temporary, prepared.second, forward)
        agreement = prepared.conversion.agreement if prepared.conversion is not None else None
        measured = Measured(
            calibration,
            comparison,
            opset=opset,
            agreement=agreement,
            trials=prepared.trials,
            verdict=verdict,
            padding_row=padding_row,
            notes=prepared.notes,
        )
        manifest = describe(bench, spec, measured, content, prepared.model)
        temporary.write_bytes(with_manifest(content, manifest))
        # The file as it will stand, through the front door: manifest, digests and graph agree.
        with DefendedSession(temporary, device="cpu") as session:
            session.predict(bench.calibration.feed[:1])
        if plain_path is not None:
            write_whole(Path(plain_path), plain, error=ExportError)
    _log.info("wrote %s", target)
    attempts = self_test(bench, target) if config.self_test else ()
    return ExportReport(
        path=target,
        manifest=manifest,
        size_bytes=target.stat().st_size,
        plain_size_bytes=len(plain),
        layers=prepared.layers,
        comparison=comparison,
        screen=screen,
        agreement=agreement,
        plan=bench.plan,
        profiles=prepared.profiles,
        spec=spec,
        network=bench.network,
        attempts=attempts,
        notes=prepared.notes,
        seconds=prepared.seconds + time.perf_counter() - began,
    )


def calibrate_gate(bench: Bench, known: Known, second: NDArray[np.float32]) -> Calibration:
    """The gate fitted to both passes over the calibration images."""
    config = bench.config
    policy = Policy(config.policy)
    return calibrate(
        bench.calibration_pass,
        second,
        bench.calibration.labels,
        known,
        benign_budget=config.benign_budget,
        screen_rate=None if policy is Policy.ALWAYS else config.screen_rate,
        policy=policy,
        seed=config.seed,
    )


def screen_cost(prepared: Prepared, gate: Gate) -> ScreenCost | None:
    """What the screen costs on benign images and on probes; None without a screen."""
    if gate.screen_threshold is None:
        return None
    bench, known = prepared.bench, prepared.known
    config = bench.config
    shown = probes(bench.calibration.feed, eps=config.eps, bounds=bench.bounds, seed=config.seed)
    again = look_again(shown, prepared.view, prepared.bank, bench.bounds)

    def look(passed: Passed) -> FirstLook:
        return FirstLook.of(passed, known.readouts, known.typicality)

    return ScreenCost(
        benign=sent_on(gate, look(bench.calibration_pass), prepared.second),
        probes=sent_on(gate, look(bench.run(shown)), bench.run(again).logits),
    )


def defended(bench: Bench, backbone: Backbone, spec: DefenceSpec) -> tuple[bytes, bool]:
    """The finished graph, without a manifest, and whether it has a padding row.

    It has one where the settings or the network ask for it: then no operator ever sees an empty batch, but a
    batch of which the screen picks no row costs one row's second pass. What the trial could not tell, for
    onnxruntime optimises the two passes of a file otherwise than the network alone, is tried on the file.
    """
    taps = {tap.name: tap for tap in bench.plan.layers}
    if spec.gate.screen_threshold is None:
        return serialise(attach_defence(backbone, spec, taps)), False
    if bench.config.padding_row is PaddingRow.AUTO and bench.trial.needs_a_row is None:
        spare = replace(backbone, model=backbone.model.clone())
        content = serialise(attach_defence(spare, spec, taps))
        problem = fails_without_rows(content, spec, bench.calibration.feed[:1])
        if problem is None:
            return content, False
        _log.info("the file gets a padding row: without rows, onnxruntime says %s", problem)
    return serialise(attach_defence(backbone, spec, taps, padding_row=True)), True


def forward_of(bench: Bench, backbone: Backbone, readouts: Sequence[ReadOut]) -> Forward:
    """The backbone's pass that the oracle builds on: in torch, or converted in onnxruntime."""
    if bench.converted is None:
        return bench.run_in_torch
    grids = [TapCells(bench.plan.tap(readout.tap), readout.cells) for readout in readouts]
    read = {grid.tap.name for grid in grids}
    grids += [
        grid for grid in bench.grids if grid.tap.name == bench.plan.features and grid.tap.name not in read
    ]
    return partial(
        OnnxBackbone(backbone, grids).run,
        batch_size=bench.config.batch_size,
        memory=bench.config.memory,
    )


def verify(
    bench: Bench, spec: DefenceSpec, path: Path, second: NDArray[np.float32], forward: Forward
) -> Comparison:
    """Compare the file with its references on benign images, half of them the most suspicious ones.

    The oracle is always one of them, the torch twin only where the file computes in float32 as torch does.
    """
    look = FirstLook.of(bench.calibration_pass, spec.readouts, spec.typicality)
    reading = read_gate(spec.gate, look, second)
    # The highest scores first, so that the corrected branch is compared too; then others, evenly spread.
    by_score = np.argsort(-reading.score, kind="stable")
    count = min(VERIFICATION_IMAGES, len(by_score))
    suspicious = by_score[: count // 2]
    others = by_score[np.linspace(count // 2, len(by_score) - 1, count - len(suspicious)).astype(int)]
    rows = np.concatenate([suspicious, others])
    exact = bench.converted is None
    stage = bench.progress(stages.verifying(against_torch=exact), 1)
    comparison = verify_file(
        path,
        spec,
        DefendedTwin(bench.network, spec) if exact else None,
        forward,
        bench.calibration.feed[rows],
        output_name=bench.config.output_name,
        device=bench.device,
        tolerance=HALF if bench.config.precision is Precision.FP16 else EXACT,
    )
    stage(1)
    return comparison
