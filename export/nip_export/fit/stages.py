"""The stages of an export in their order: what each is called, and what it is guessed to cost."""

from __future__ import annotations

from typing import Final

from nip_export.calibrate.view import MOST_MISTAKES, MOST_RIGHT
from nip_export.config import ExportConfig
from nip_export.defence.views import menu, parse_view
from nip_export.support.overall import Stage
from nip_runtime.file.manifest import PerturbationMethod, Policy, Precision

TRIAL: Final = "Trial export"
PROFILE: Final = "Profile images"
CALIBRATION: Final = "Calibration images"
INFLUENCE: Final = "Influence profiles"
INVERSE: Final = "Inverse perturbations"
VIEW: Final = "Choosing the view"
RESPONSE: Final = "Response of calibration images"
ATTACH: Final = "Export and attach"
SELF_TEST: Final = "Self-test: attacks"
EXAMPLES: Final = "Examples for nip ui"

GRADIENT: Final = 3.0
"""Passes that a pass with a gradient costs."""
TRIAL_COST, ATTACH_COST, VERIFY_COST, CONVERT_COST = 60.0, 120.0, 300.0, 120.0
ASCENT_IMAGES, SELF_TEST_COST = 32, 60.0
SHAPE: Final = (3, 8, 8)
"""Of an image, whatever its size: it has as many views as any."""


def converting(precision: Precision) -> str:
    """What converting the backbone is called."""
    return f"Convert to {precision}"


def in_precision(stage: str, precision: Precision) -> str:
    """What a pass of the converted backbone is called."""
    return f"{stage} in {precision}"


def verifying(*, against_torch: bool) -> str:
    """What the comparison of the finished file is called."""
    return f"Verify against {'torch and ' if against_torch else ''}numpy"


def export_stages(config: ExportConfig, profile: int, calibration: int) -> list[Stage]:
    """What an export of so many images goes through once they are read.

    Args:
        config: its settings.
        profile: images for profiles.
        calibration: images held out.
    """
    precision, always = Precision(config.precision), config.policy is Policy.ALWAYS
    auto = config.view == "auto" and not always
    stages = [
        Stage(TRIAL, 1, TRIAL_COST),
        Stage(PROFILE, profile, 1),
        Stage(CALIBRATION, calibration, 1),
        Stage(INFLUENCE, profile, GRADIENT),
    ]
    if always or auto or parse_view(config.view)[1]:
        one_step = config.perturbation is PerturbationMethod.ONE_STEP
        steps, images = (profile, 1) if one_step else (config.ascent_steps, ASCENT_IMAGES)
        stages.append(Stage(INVERSE, steps, GRADIENT * images))
    if precision is not Precision.FP32:
        stages += [
            Stage(converting(precision), 1, CONVERT_COST),
            Stage(in_precision(CALIBRATION, precision), calibration, 1),
            Stage(in_precision(PROFILE, precision), profile, 1),
        ]
    if auto:
        views = len(menu(SHAPE, config.bounds)) + 1
        stages.append(Stage(VIEW, views, min(calibration, MOST_RIGHT + MOST_MISTAKES)))
    stages += [
        Stage(RESPONSE, calibration, 1),
        Stage(ATTACH, 1, ATTACH_COST),
        Stage(verifying(against_torch=precision is Precision.FP32), 1, VERIFY_COST),
    ]
    if config.self_test:
        stages.append(Stage(SELF_TEST, 3 * min(64, calibration), SELF_TEST_COST))
    return stages
