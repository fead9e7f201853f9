"""The costly part of an export, from images to a defence in which only the thresholds are missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_export.attach.backbone import Backbone, with_taps
from nip_export.calibrate import Known, ViewTrial, choose_view
from nip_export.calibrate.gate import check_enough
from nip_export.calibrate.stored import stored_as
from nip_export.config import ExportConfig
from nip_export.data.gathering import Given, Labels
from nip_export.data.inputs import Inputs, LazyInputs, changed
from nip_export.defence import statistics
from nip_export.defence.spec import Bank
from nip_export.defence.views import View, check_view, gentle_menu, menu, parse_view
from nip_export.fit import stages
from nip_export.fit.bench import Bench, check_counts, set_up
from nip_export.fit.benign import Benign, prepare
from nip_export.fit.conversion import Conversion, convert
from nip_export.fit.kept import keep_in
from nip_export.fit.layers import LayerReport
from nip_export.fit.opinion import check_early, second_opinion
from nip_export.fit.perturbations import InverseObjective, ascend, one_step, quantise
from nip_export.fit.perturbations.bank import coarse_shape
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network import Classifier, as_classifier
from nip_export.network.loading import image_channels
from nip_export.network.run import Passed, tapped_network
from nip_export.support.device import device_of
from nip_export.support.progress import Progress, silent
from nip_export.verify.oracle import look_again
from nip_runtime.errors import ExportError, InputError
from nip_runtime.file.manifest import PerturbationMethod, Policy, Precision, ViewStep

ASCENT_IMAGES, OF_EACH_CLASS = 32, 3
"""Benign images per step of the ascent: in all, and on average of every class that has a row of its own."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A defence in which only the thresholds are missing: files for several benign budgets come from one.

    Attributes:
        model: the network, with its answer read as logits.
        bench: it with taps, images and their first passes.
        known: the early layers' second opinion, and what benign features look like.
        layers: how good every layer's read-out is.
        profiles: influence profiles of the tapped layers.
        view: how the second pass looks at an input.
        trials: what benign images said of the views that were tried; none, if the user named one.
        rho: the inverse perturbations that were made, added or not; zeros, if the settings rule them out.
        bank: those that the second pass adds; zeros, if none is added.
        second: (N, C) logits of the calibration images in the second pass.
        seconds: what the preparation took.
        conversion: the backbone in the file's precision; None for fp32.
        notes: what had to be done to the user's model to read logits from it.
    """

    model: nn.Module
    bench: Bench
    known: Known
    layers: tuple[LayerReport, ...]
    profiles: Mapping[str, InfluenceProfile]
    view: View
    trials: tuple[ViewTrial, ...]
    rho: Bank
    bank: Bank
    second: NDArray[np.float32]
    seconds: float
    conversion: Conversion | None = None
    notes: tuple[str, ...] = ()

    def backbone(self) -> Backbone:
        """What will stand in the file, with the taps it is read by: a graph of its own at every call."""
        taps = [readout.tap for readout in self.known.readouts]
        taps += [self.known.typicality.tap] if self.known.typicality.tap not in taps else []
        return with_taps((self.conversion or self.bench.trial).backbone, taps)


def prepare_defence(
    model: nn.Module,
    images: Given,
    labels: Labels = None,
    *,
    calibration: tuple[Given, Labels] | None = None,
    config: ExportConfig | None = None,
    progress: Progress = silent,
    is_last_budget: bool = False,
    resume: str | Path | None = None,
) -> Prepared:
    """The costly part; arguments and errors as for :func:`nip_export.pipeline.export_defended`.

    `is_last_budget` says that no other benign budget than that of the settings will be asked for: too few
    images for it are then refused here, before anything is computed, and too few that the model gets right
    before the first gradient.
    """
    began = time.perf_counter()
    config = config if config is not None else ExportConfig()
    profile, held_out = prepare(images, labels, calibration, config)
    classifier = _classifier(model, profile, config)
    if is_last_budget:
        check_counts(len(profile.labels), len(held_out.labels), config)
    kept = keep_in(resume, classifier.model, profile, held_out, config)
    bench = set_up(classifier.model, profile, held_out, config, progress, kept)
    if is_last_budget:
        check_enough(
            bench.calibration_pass.logits.argmax(1) == bench.calibration.labels, config.benign_budget
        )
    check_early(bench)
    profiles = bench.influence_profiles()
    adds = may_add_rho(config) and stored_of(bench) is None
    bank = inverse_bank(bench, profiles[bench.plan.features]) if adds else no_bank(bench)
    return replace(_fitted(classifier.model, bench, profiles, bank, began), notes=classifier.notes)


def _classifier(model: nn.Module, profile: Benign, config: ExportConfig) -> Classifier:
    """As :func:`classifier_of`; where the model fails on images with axes in another order, that is said.

    Only then: a model may well turn axes itself.
    """
    try:
        return classifier_of(model, profile.feed, config)
    except ExportError as error:
        channels, images = image_channels(model), profile.source.kept
        first, last = (images.shape[1], images.shape[3]) if images.ndim == 4 else (None, None)
        is_uint8 = images.dtype == np.uint8
        if channels is None or (first if is_uint8 else last) != channels or first == last:
            raise
        raise InputError.mismatch(
            expected=f"images of {channels} channel{'s' * (channels > 1)} as uint8 (N, H, W, C) or float32 "
            "(N, C, H, W)",
            got=f"{images.dtype} {images.shape}",
            fix="uint8 images are channels-last: images.transpose(0, 2, 3, 1)"
            if is_uint8
            else "float images are channels-first: images.transpose(0, 3, 1, 2)",
        ) from error


def classifier_of(model: nn.Module, inputs: Inputs, config: ExportConfig) -> Classifier:
    """The model with its answer read as logits; errors as :func:`nip_export.network.as_classifier`."""
    example = torch.from_numpy(inputs[:2].copy()).to(device_of(model))
    probe = tapped_network(model, example, [], mean=config.mean, std=config.std)
    return as_classifier(model, probe.normalise(example), output=config.output)


def in_precision(prepared: Prepared, precision: Precision) -> Prepared:
    """The same defence in another precision: profiles and perturbations stay, all else is fitted anew.

    Args:
        prepared: in fp32.
        precision: what to convert to.

    Raises:
        ExportError: `prepared` is converted already, or the conversion breaks the model.
    """
    began, bench = time.perf_counter(), prepared.bench
    if prepared.conversion is not None:
        raise ExportError(f"expected a defence prepared in fp32, got one in {bench.config.precision}")
    bench = replace(bench, config=replace(bench.config, precision=precision))
    fitted = _fitted(prepared.model, bench, prepared.profiles, prepared.rho, began - prepared.seconds)
    return replace(fitted, notes=prepared.notes)


def _fitted(
    model: nn.Module,
    bench: Bench,
    profiles: Mapping[str, InfluenceProfile],
    rho: Bank,
    began: float,
) -> Prepared:
    """Convert, if that is asked for, then fit the read-outs and run the second pass."""
    conversion = None
    if bench.config.precision is not Precision.FP32:
        # All that is fitted from here on is fitted to what the file will compute.
        bench, conversion = convert(bench, rho)
    known, layers = second_opinion(bench)
    view, bank, trials = chosen_view(bench, known, rho)
    return Prepared(
        model=model,
        bench=bench,
        known=known,
        layers=layers,
        profiles=profiles,
        view=view,
        trials=trials,
        rho=rho,
        bank=bank,
        second=second_pass(bench, known, view, bank),
        conversion=conversion,
        seconds=time.perf_counter() - began,
    )


def inverse_perturbations(bench: Bench, profile: InfluenceProfile, *, factor: int | None = None) -> Tensor:
    """What the policy adds, before it is stored: (C, *coarse) for ``always``, else (1, *coarse).

    Args:
        bench: network, images and settings.
        profile: influence on the features.
        factor: input rows and columns that one stored value covers; None: by the size of the input.
    """
    config = bench.config
    objective = InverseObjective(
        network=bench.network,
        tap=bench.plan.tap(bench.plan.features),
        profile=profile,
        inputs=bench.profile.feed,
        labels=bench.profile.labels,
        bounds=bench.bounds,
        device=bench.device,
        factor=factor,
    )
    per_class = config.policy is Policy.ALWAYS
    if config.perturbation is PerturbationMethod.ONE_STEP:
        stage = bench.progress(stages.INVERSE, len(bench.profile.feed))
        return one_step(
            objective,
            per_class=per_class,
            eps=config.eps,
            batch_size=config.batch_size,
            memory=config.memory,
            advance=stage,
        )
    stage = bench.progress(stages.INVERSE, config.ascent_steps)
    return ascend(
        objective,
        per_class=per_class,
        eps=config.eps,
        steps=config.ascent_steps,
        batch_size=images_per_step(bench.classes if per_class else 1, config),
        seed=config.seed,
        memory=config.memory,
        advance=stage,
    )


def images_per_step(rows: int, config: ExportConfig) -> int:
    """Benign images per step of an ascent over so many perturbations, one per class or a universal one."""
    return max(ASCENT_IMAGES, min(config.batch_size, OF_EACH_CLASS * rows))


def inverse_bank(bench: Bench, profile: InfluenceProfile) -> Bank:
    """The inverse perturbations that the policy adds: one per class for ``always``, else a universal one."""
    made = bench.kept.stage(
        "perturbations", lambda: {"coarse": inverse_perturbations(bench, profile).detach().cpu().numpy()}
    )
    return quantise(made["coarse"], eps=bench.config.eps, shape=bench.shape)


def may_add_rho(config: ExportConfig) -> bool:
    """Whether the settings leave it open that an inverse perturbation is added.

    Where a view is to be chosen and begins with a round trip through JPEG, none is: see :func:`chosen_view`.
    """
    return config.policy is Policy.ALWAYS or config.view == "auto" or parse_view(config.view)[1]


def no_bank(bench: Bench) -> Bank:
    """One perturbation of zeros."""
    return quantise(np.zeros((1, *coarse_shape(bench.shape))), eps=bench.config.eps, shape=bench.shape)


def stored_of(bench: Bench) -> ViewStep | None:
    """The round trip that the view to be chosen begins with; None if there is none, or none to be chosen."""
    if bench.config.policy is Policy.ALWAYS or bench.config.view != "auto":
        return None
    return stored_as(bench.calibration.feed, bench.bounds)


def chosen_view(bench: Bench, known: Known, bank: Bank) -> tuple[View, Bank, tuple[ViewTrial, ...]]:
    """The view that the settings name, or the one that benign images speak for; and the bank it adds.

    Behind a round trip through JPEG the inverse perturbation is not tried. It takes off its lattice what was
    just put back onto it, and cost 3 points on three networks where it was measured and 31 on a fourth.
    """
    config = bench.config
    nothing = replace(bank, steps=np.zeros_like(bank.steps))
    if config.policy is Policy.ALWAYS:
        return (), bank, ()
    if config.view != "auto":
        view, rho = parse_view(config.view)
        check_view(view, bench.shape, bench.bounds)
        return view, bank if rho else nothing, ()
    stored = stored_of(bench)
    views = menu(bench.shape, bench.bounds, stored)
    gentle = gentle_menu(bench.shape, bench.bounds, stored)
    # The input itself is no view; with ρ it is one, as the view chosen is another.
    left = (len(views) + 1 if stored is None else len(views) - 1) + len(gentle)
    stage = bench.progress(stages.VIEW, left)

    def second(view: View, rho: bool, rows: NDArray[np.int64]) -> Passed:
        nonlocal left
        passed = bench.run(seen_again(bench, view, bank if rho else nothing, rows=rows))
        stage(1)
        left -= 1
        return passed

    chosen, trials = choose_view(
        views,
        second,
        bench.calibration_pass,
        bench.calibration.labels,
        known,
        seed=config.seed,
        rho=None if stored is None else False,
        gentle=gentle,
    )
    stage(left)
    return chosen.view, bank if chosen.rho else nothing, trials


def seen_again(
    bench: Bench,
    view: View,
    bank: Bank,
    *,
    rows: NDArray[np.int64] | None = None,
    hypothesis: NDArray[np.int64] | None = None,
) -> LazyInputs:
    """Calibration images, or some of them, as the second pass sees them, batch by batch: a median of all of
    them at once would take nine times their memory."""

    def look(inputs: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        guessed = None if hypothesis is None else hypothesis[chosen]
        return look_again(inputs, view, bank, bench.bounds, hypothesis=guessed)

    return changed(bench.calibration.feed, look, rows)


def second_pass(bench: Bench, known: Known, view: View, bank: Bank) -> NDArray[np.float32]:
    """Logits (N, C) of the calibration images in the policy's second pass."""
    hypothesis = None
    if bench.config.policy is Policy.ALWAYS:
        hypothesis = statistics.evidence(known.readouts, bench.calibration_pass.pooled).argmax(1)
    again = seen_again(bench, view, bank, hypothesis=hypothesis)
    return bench.run(again, stages.RESPONSE).logits
