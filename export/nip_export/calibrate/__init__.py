"""Thresholds from held-out benign inputs alone, to a stated benign budget."""

from nip_export.calibrate.absent import absent_typicality, known_classes
from nip_export.calibrate.curves import fit_suspicion, fit_tail, weighted
from nip_export.calibrate.gate import (
    Calibration,
    Known,
    calibrate,
    early_weight,
    fit_tests,
    set_screen,
    set_threshold,
)
from nip_export.calibrate.scales import fit_scale
from nip_export.calibrate.typicality import fit_typicality
from nip_export.calibrate.view import ViewTrial, choose_view

__all__ = [
    "Calibration",
    "Known",
    "ViewTrial",
    "absent_typicality",
    "calibrate",
    "choose_view",
    "early_weight",
    "fit_scale",
    "fit_suspicion",
    "fit_tail",
    "fit_tests",
    "fit_typicality",
    "known_classes",
    "set_screen",
    "set_threshold",
    "weighted",
]
