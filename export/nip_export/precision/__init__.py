"""Backbones in other arithmetic: converted once, before anything is cloned or calibrated on them."""

from nip_export.precision.agreement import Agreement, check_agreement, measure_agreement
from nip_export.precision.convert import convert_backbone
from nip_export.precision.network import OnnxBackbone

__all__ = ["Agreement", "OnnxBackbone", "check_agreement", "convert_backbone", "measure_agreement"]
