"""What an evaluation is given beside the file: network, images, a surrogate."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from nip_evaluate.baselines import Laboratory
from nip_evaluate.given.target import Target
from nip_evaluate.terms.threats import Labels
from nip_export.config import ExportConfig
from nip_export.data import ImageSet, stratified_split
from nip_export.fit.benign import Benign, at_the_door, prepare
from nip_export.support.progress import Progress
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import PerturbationMethod, SettingsInfo

_log = logging.getLogger(__name__)

DEFAULTS = ExportConfig()
STRAY_SHARE = 0.01
"""Share of test images that may be among those the file was made from: public data sets hold duplicates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Everything but the file.

    Attributes:
        model: the network that the file was made from.
        test: benign images that the file was *not* made from.
        surrogate: another network for the same classes and the same normalisation, for T2; or None.
        profile: the images that the export was given; None: no calibrated baselines, no influence plot.
        calibration: the calibration images that the export was given, if any.
        output: which of the network's outputs holds the logits, as the export was told.
    """

    model: nn.Module
    test: ImageSet
    surrogate: nn.Module | None = None
    profile: ImageSet | None = None
    calibration: ImageSet | None = None
    output: str | None = None

    def test_inputs(self, target_bounds: tuple[float, float]) -> Benign:
        """The test images as the network takes them.

        Raises:
            InputError: no images, or images within other bounds than the file's.
        """
        if target_bounds != self.test.bounds:
            raise InputError.mismatch(
                expected=f"test images within {target_bounds}, the file's bounds",
                got=f"bounds {self.test.bounds}",
                fix="pass them as ImageSet(…, bounds=…) of the export",
            )
        if len(self.test) < 2:
            raise InputError.mismatch(
                expected="at least 2 test images", got=f"{len(self.test)}", fix="add some"
            )
        return at_the_door(self.test)


def check_labels(labels: Labels, target: Target) -> None:
    """Refuse labels that the network has no logit for.

    Raises:
        InputError: a label beyond the file's classes.
    """
    if labels.max() >= target.manifest.output.classes:
        raise InputError.mismatch(
            expected=f"labels below {target.manifest.output.classes}, the file's number of classes",
            got=f"{labels.max()}",
            fix="number the classes as for nip export",
        )


def open_laboratory(target: Target, material: Material, progress: Progress) -> Laboratory | None:
    """The bench on which variants of the file's defence are made, if the images it was made from are at hand.

    Raises:
        InputError: other images than those the file was made from.
        ExportError: the model does not fit.
    """
    if material.profile is None:
        return None
    manifest = target.manifest
    settings = settings_of(target)
    # How layers were tapped and pooled is read off the read-outs: they must find the same layers again.
    # Variants of a converted file are made of the fp32 network: they are answered by torch twins.
    config = ExportConfig(
        policy=manifest.policy,
        taps=target.plan.names,
        features=target.plan.features,
        cells=max((readout.cells for readout in target.spec.readouts), default=1),
        benign_budget=manifest.calibration.benign_budget,
        eps=manifest.defence.eps_pixel,
        bounds=manifest.input.bounds,
        mean=manifest.input.mean,
        std=manifest.input.std,
        class_names=manifest.output.class_names,
        top_k=manifest.defence.top_k,
        screen_rate=settings.screen_rate,
        perturbation=settings.perturbation,
        ascent_steps=settings.ascent_steps,
        seed=manifest.provenance.seed,
    )
    held = material.calibration
    profile, calibration = prepare(
        material.profile.images,
        material.profile.labels,
        None if held is None else (held.images, held.labels),
        config,
    )
    for name, given, digest in (
        ("profile", profile, manifest.digests.profile_data),
        ("calibration", calibration, manifest.digests.calibration_data),
    ):
        if given.source.digest() != digest:
            raise InputError.mismatch(
                expected=f"the {name} images that the file was made from ({digest[:19]}…)",
                got=f"others ({given.source.digest()[:19]}…)",
                fix="pass what nip export was given as --data and --calibration, or leave both out",
            )
    return Laboratory(
        target.model, profile, calibration, config, given=target.spec, progress=progress, seed=config.seed
    )


def settings_of(target: Target) -> SettingsInfo:
    """What the file was made with; where its manifest is too old to say, what that suggests or defaults."""
    if target.manifest.settings is not None:
        return target.manifest.settings
    return SettingsInfo(
        screen_rate=_inferred_screen_rate(target),
        perturbation=PerturbationMethod(DEFAULTS.perturbation),
        ascent_steps=DEFAULTS.ascent_steps,
    )


def _inferred_screen_rate(target: Target) -> float:
    """The screen rate of a file that does not state it.

    Its manifest states what cross-validation measured, which lies a little below what was asked for.
    """
    if target.spec.gate.screen_threshold is None:
        return 1.0
    manifest = target.manifest.calibration
    asked = DEFAULTS.screen_rate
    low, high = manifest.pass2_rate.interval
    if low - 0.05 <= asked <= high + 0.05:
        return asked
    return max(manifest.pass2_rate.value, manifest.benign_budget)


def refuse_known_images(target: Target, material: Material) -> None:
    """A file must not be judged on the images it was made from.

    Seen are images among those in `material` that the file was made from, and without these the very set, or
    the set that the export held a share out of.

    Raises:
        InputError: test images that the file was made from.
    """
    test = material.test
    known = {image for given in (material.profile, material.calibration) for image in _images(given)}
    shared = sum(image in known for image in _images(test))
    if shared == 0 and _known_set(target, test):
        shared = len(test)
    if shared > STRAY_SHARE * len(test):
        raise InputError.mismatch(
            expected="test images that the file was not made from",
            got=f"{shared} of {len(test)} that it was made from",
            fix="pass others as --data",
        )
    if shared:
        _log.warning("%d of %d test images are among those the file was made from", shared, len(test))


def _images(given: ImageSet | None) -> list[bytes]:
    return [] if given is None else [image.tobytes() for image in at_the_door(given).inputs]


def _known_set(target: Target, test: ImageSet) -> bool:
    """Whether the file states the digest of these images, or of the parts that an export splits them into."""
    manifest = target.manifest
    known = (manifest.digests.profile_data, manifest.digests.calibration_data)
    parts = [test]
    with suppress(InputError):  # a class with one image cannot be split, so it was not
        fraction = DEFAULTS.calibration_fraction
        parts += map(test.take, stratified_split(test.labels, fraction, manifest.provenance.seed))
    return any(part.digest() in known for part in parts)
