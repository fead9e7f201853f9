"""Thresholds from held-out benign inputs alone, to a stated benign budget."""

from nip_export.calibrate.curves import compose, fit_suspicion, fit_tail
from nip_export.calibrate.gate import Calibration, calibrate, fit_tests, set_screen, set_threshold
from nip_export.calibrate.scales import fit_scale

__all__ = [
    "Calibration",
    "calibrate",
    "compose",
    "fit_scale",
    "fit_suspicion",
    "fit_tail",
    "fit_tests",
    "set_screen",
    "set_threshold",
]
