"""The network on the bench: its taps, and what one pass over profile and calibration images shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_export.attach.backbone import export_backbone
from nip_export.attach.trial import Trial, try_out
from nip_export.calibrate.gate import LEAST_CORRECT, needed_for
from nip_export.config import ExportConfig
from nip_export.data.inputs import Inputs
from nip_export.fit import stages
from nip_export.fit.benign import Benign
from nip_export.fit.class_order import other_order
from nip_export.fit.kept import Kept
from nip_export.fit.layers import grids_of
from nip_export.fit.profiles import InfluenceProfile, influence_profiles
from nip_export.network import TapPlan, find_taps
from nip_export.network.run import Passed, TapCells, run_network, tapped_network
from nip_export.network.tapped import TappedNetwork
from nip_export.precision.network import OnnxBackbone
from nip_export.support.classes import named_classes
from nip_export.support.device import device_of
from nip_export.support.progress import Advance, Progress
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate

MOST_NAMES = 5
"""Class names that a message lists."""
LEAST_PROFILE = 50
"""Correctly classified images without which no profile is made."""


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything the stages of an export share.

    Attributes:
        network: the model with normalisation and taps.
        plan: the tapped layers.
        grids: how each is pooled, in the order of the plan.
        example: (2, *shape) float32 on the device.
        profile: images that the model classifies correctly.
        profile_pass: pass 1 over them.
        calibration: all held-out images.
        calibration_pass: pass 1 over them.
        config: the user's settings.
        progress: who waits.
        device: where the model lives.
        trial: what the trial export of the untouched network showed.
        kept: stages that are finished.
        exported: the network in onnxruntime, which gives all passes that need no gradients; None off the
            CPU, where torch does.
        converted: what will stand in the file, if that is another precision: it gives all passes then.
    """

    network: TappedNetwork
    plan: TapPlan
    grids: tuple[TapCells, ...]
    example: Tensor
    profile: Benign
    profile_pass: Passed
    calibration: Benign
    calibration_pass: Passed
    config: ExportConfig
    progress: Progress
    device: torch.device
    trial: Trial
    kept: Kept = field(default_factory=Kept)
    exported: OnnxBackbone | None = None
    converted: OnnxBackbone | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest input value."""
        return self.config.bounds

    @property
    def shape(self) -> tuple[int, ...]:
        """Per-sample input shape."""
        return tuple(self.profile.feed.shape[1:])

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.profile_pass.logits.shape[1])

    @property
    def early_grids(self) -> tuple[TapCells, ...]:
        """The layers before the features."""
        return tuple(grid for grid in self.grids if grid.tap.name != self.plan.features)

    def run(self, inputs: Inputs, stage: str | None = None) -> Passed:
        """One pass over (N, *shape) float32 inputs."""
        advance = self.progress(stage, len(inputs)) if stage is not None else None
        network = self.converted if self.converted is not None else self.exported
        return passes(self.network, self.grids, self.device, self.config, network)(inputs, advance)

    def run_in_torch(self, inputs: Inputs) -> Passed:
        """The same by the network itself, for references that the file is compared with."""
        return passes(self.network, self.grids, self.device, self.config)(inputs, None)

    def influence_profiles(self) -> Mapping[str, InfluenceProfile]:
        """Influence per tapped layer, over the profile images.

        Raises:
            ExportError: the features have fewer than 2·k neurons.
        """
        wide = [grid for grid in self.grids if grid.tap.width(cells=grid.cells) >= 2 * self.config.top_k]
        if self.plan.features not in {grid.tap.name for grid in wide}:
            width = self.plan.tap(self.plan.features).width(cells=1)
            raise ExportError(
                f"top_k: expected at most {width // 2}, half of the {width} neurons of the features "
                f"{self.plan.features!r}, got {self.config.top_k}"
            )
        return self.kept.profiles(
            "influence",
            lambda: influence_profiles(
                self.network,
                self.profile.feed,
                self.profile.labels,
                wide,
                classes=self.classes,
                top_k=self.config.top_k,
                batch_size=self.config.batch_size,
                device=self.device,
                memory=self.config.memory,
                advance=self.progress(stages.INFLUENCE, len(self.profile.feed)),
            ),
        )


def passes(
    network: TappedNetwork,
    grids: tuple[TapCells, ...],
    device: torch.device,
    config: ExportConfig,
    onnx: OnnxBackbone | None = None,
) -> Callable[[Inputs, Advance | None], Passed]:
    """One pass over (N, *shape) float32 inputs: in onnxruntime if `onnx` is given, else in torch."""
    forward = onnx.run if onnx is not None else partial(run_network, network, grids=grids, device=device)

    def run(inputs: Inputs, advance: Advance | None) -> Passed:
        return forward(inputs, batch_size=config.batch_size, memory=config.memory, advance=advance)

    return run


def tried(model: nn.Module, network: TappedNetwork, example: Tensor, config: ExportConfig) -> Trial:
    """Export the untouched model with all taps of `network`, and run it.

    Raises:
        ExportError: as :func:`nip_export.attach.backbone.export_backbone` and
            :func:`nip_export.attach.trial.try_out`.
    """
    backbone = export_backbone(
        model,
        example,
        network.taps,
        input_name=config.input_name,
        output_name=config.output_name,
        mean=config.mean,
        std=config.std,
    )
    return try_out(backbone, network, example)


def check_labels(sets: dict[str, Benign], classes: int, config: ExportConfig) -> None:
    """Refuse labels and class names that do not fit the number of logits."""
    for name, data in sets.items():
        beyond = np.unique(data.labels[data.labels >= classes])
        if len(beyond):
            raise ExportError(
                f"the model has {classes} logits, but {name} images are of "
                f"{named_classes(beyond.tolist(), config.class_names)}; expected class numbers from 0 in the "
                "order of the logits: number the classes so, or name the model's own in that order "
                "(class_names, --classes FILE)"
            )
    if config.class_names is not None and len(config.class_names) != classes:
        names = config.class_names
        shown = ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
        raise ExportError(
            f"class_names: expected {classes} names, one per logit, got {len(names)} ({shown}); name the "
            "model's classes in the order of its logits (class_names, --classes FILE), those without images "
            "too: the names of subfolders alone do not tell which logits they are"
        )


def check_counts(profile: int, calibration: int, config: ExportConfig) -> None:
    """Refuse fewer images than would do even if the model were right about all of them.

    Raises:
        ExportError: saying how many there have to be.
    """
    needed = max(LEAST_CORRECT, needed_for(config.benign_budget))
    if profile >= LEAST_PROFILE and calibration >= needed:
        return
    share = config.calibration_fraction
    in_all = max(math.ceil(needed / share), math.ceil(LEAST_PROFILE / (1 - share))) + 1
    raise ExportError(
        f"expected at least {LEAST_PROFILE} benign images for profiles and {needed} for calibration, which "
        f"benign_budget {config.benign_budget:.2%} takes, got {profile} and {calibration}; give more (about "
        f"{in_all} where a share of {share:.0%} is held out, and some for those the model gets wrong), or a "
        "larger budget"
    )


def check_better_than_chance(passed: Passed, labels: NDArray[np.int64], better: str | None = None) -> None:
    """Refuse a model whose accuracy cannot be told from guessing: untrained, or fed in another way.

    And one that numbers the classes in another order, as far as `better` says so.
    """
    classes = passed.logits.shape[1]
    accuracy = Rate(int((passed.logits.argmax(1) == labels).sum()), len(labels))
    if accuracy.interval[0] <= 1 / classes:
        told = f"; in another order of the classes it would be {better}" if better is not None else ""
        raise ExportError(
            f"the model classifies {accuracy} of the calibration images correctly, no better than guessing "
            f"among {classes} classes; load its weights, and check mean, std, channel order and label numbers"
            + told
        )
    if better is not None:
        raise ExportError(
            f"the model gets {accuracy} of the calibration images right as they are numbered, but {better}; "
            "expected class numbers in the order of the logits: number the classes so, or name the model's "
            "own in that order (class_names, --classes FILE)"
        )


def check_several_classes(
    labels: NDArray[np.int64], correct: NDArray[np.bool_], config: ExportConfig
) -> None:
    """Refuse profile images of which the rightly classified ones are all of one class."""
    right = np.unique(labels[correct])
    if len(right) > 1:
        return
    given, alone = np.unique(labels), named_classes(right.tolist(), config.class_names)
    if len(given) == 1:
        raise ExportError(
            f"expected correctly classified profile images of at least 2 classes, got {alone} alone; give "
            "benign images of every class"
        )
    raise ExportError(
        "expected a model that gets profile images of at least 2 classes right, got one that of "
        f"{len(given)} classes gets only {alone} right; load its weights, and check mean, std, channel order "
        "and label numbers"
    )


def set_up(
    model: nn.Module,
    profile: Benign,
    calibration: Benign,
    config: ExportConfig,
    progress: Progress,
    kept: Kept | None = None,
) -> Bench:
    """Find the taps, try an export, then run pass 1 over all images; those the model gets wrong are dropped.

    What `kept` has of it is not done again.

    Raises:
        ExportError: the model cannot be tapped or exported, does not fit the labels, or gets too many images
            wrong.
    """
    device, kept = device_of(model), kept if kept is not None else Kept()
    example = torch.from_numpy(profile.feed[:2].copy()).to(device)
    probe = tapped_network(model, example, [], mean=config.mean, std=config.std)
    plan = find_taps(
        model,
        probe.normalise(example),
        taps=config.taps,
        features=config.features,
        classifier=config.classifier,
    )
    network = tapped_network(model, example, plan.names, mean=config.mean, std=config.std)
    grids = grids_of(plan, config.cells)
    stage = progress(stages.TRIAL, 1)
    trial = tried(model, network, example, config)
    stage(1)

    exported = None
    if device.type == "cpu":
        exported = OnnxBackbone(trial.backbone, grids, threads=torch.get_num_threads())

    forward = passes(network, grids, device, config, exported)

    def run(inputs: Inputs, stage: str) -> Passed:
        return forward(inputs, progress(stage, len(inputs)))

    profile_pass = kept.passed("profile", lambda: run(profile.feed, stages.PROFILE))
    profile = profile.named(profile_pass.logits.argmax(1))
    check_labels({"profile": profile, "calibration": calibration}, profile_pass.logits.shape[1], config)
    calibration_pass = kept.passed("calibration", lambda: run(calibration.feed, stages.CALIBRATION))
    calibration = calibration.named(calibration_pass.logits.argmax(1))
    predicted, others = profile_pass.logits.argmax(1), calibration_pass.logits.argmax(1)
    better = other_order((profile.labels, predicted), (calibration.labels, others), config.class_names)
    check_better_than_chance(calibration_pass, calibration.labels, better)
    correct = predicted == profile.labels
    if correct.sum() < LEAST_PROFILE:
        raise ExportError(
            f"expected at least {LEAST_PROFILE} correctly classified profile images, got "
            f"{int(correct.sum())} of {len(correct)}; give more, or check that mean, std, channel order and "
            "label numbers are those of the training"
        )
    check_several_classes(profile.labels, correct, config)
    return Bench(
        network=network,
        plan=plan,
        grids=grids,
        example=example,
        profile=profile.take(correct),
        profile_pass=profile_pass.take(correct),
        calibration=calibration,
        calibration_pass=calibration_pass,
        config=config,
        progress=progress,
        device=device,
        trial=trial,
        kept=kept,
        exported=exported,
    )
