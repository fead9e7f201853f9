"""The stage of an export in which the network on the bench becomes the one that will stand in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export.attach.backbone import Backbone
from nip_export.data.inputs import Inputs
from nip_export.defence.spec import Bank
from nip_export.fit import stages
from nip_export.fit.bench import Bench
from nip_export.network.run import Passed
from nip_export.precision.agreement import Agreement, check_agreement, measure_agreement
from nip_export.precision.convert import convert_backbone
from nip_export.precision.network import OnnxBackbone
from nip_export.verify.oracle import look_again
from nip_runtime.file.manifest import Policy, Precision

RANGE_IMAGES = 256
"""Profile images, each as it is and under its inverse perturbation, whose activations give int8 ranges."""


@dataclass(frozen=True, eq=False)
class Conversion:
    """A converted backbone with all taps, and how far it agrees with the one it was made from."""

    backbone: Backbone
    agreement: Agreement


def convert(bench: Bench, bank: Bank) -> tuple[Bench, Conversion]:
    """Convert the network on the bench to the precision of the settings.

    Returns:
        The same bench with all passes, further ones too, run by the converted backbone; and the conversion.
        What needs gradients still has the torch network.

    Raises:
        ExportError: the converter fails, or the converted backbone is not worth calibrating a gate on.
    """
    config, precision = bench.config, Precision(bench.config.precision)
    stage = bench.progress(stages.converting(precision), 1)
    backbone = convert_backbone(bench.trial.backbone, precision, range_inputs(bench, bank))
    network = OnnxBackbone(backbone, bench.grids)
    stage(1)

    def run(inputs: Inputs, what: str) -> Passed:
        advance = bench.progress(stages.in_precision(what, precision), len(inputs))
        return network.run(inputs, batch_size=config.batch_size, memory=config.memory, advance=advance)

    calibration_pass = run(bench.calibration.feed, stages.CALIBRATION)
    agreement = measure_agreement(
        bench.calibration_pass.logits, calibration_pass.logits, bench.calibration.labels
    )
    check_agreement(agreement, precision, is_labelled=bench.calibration.is_labelled)
    converted = replace(
        bench,
        profile_pass=run(bench.profile.feed, stages.PROFILE),
        calibration_pass=calibration_pass,
        converted=network,
    )
    return converted, Conversion(backbone, agreement)


def range_inputs(bench: Bench, bank: Bank) -> NDArray[np.float32]:
    """Inputs (N, *shape) like those of both passes: benign images, plain and under their perturbation.

    The view is chosen later, on what the converted network says; it shows benign images too.
    """
    count = len(bench.profile.labels)
    rows = np.random.default_rng(bench.config.seed).permutation(count)[:RANGE_IMAGES]
    images, labels = bench.profile.feed[rows], bench.profile.labels[rows]
    hypothesis = labels if bench.config.policy is Policy.ALWAYS else None
    again = look_again(images, (), bank, bench.bounds, hypothesis=hypothesis)
    return np.concatenate([images, again])
