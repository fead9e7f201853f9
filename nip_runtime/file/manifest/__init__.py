"""The manifest: what a defended file says about its input, its defence, how it was calibrated and checked."""

from nip_runtime.file.manifest.choices import (
    BankStorage,
    Interpolation,
    Labels,
    Layout,
    PerturbationMethod,
    Policy,
    Precision,
    Resampling,
    Resize,
    SoundCut,
    ViewStep,
)
from nip_runtime.file.manifest.defence import (
    BankInfo,
    DefenceInfo,
    GateInfo,
    SecondPassInfo,
    SettingsInfo,
    TapInfo,
    ViewInfo,
)
from nip_runtime.file.manifest.ends import InputSpec, OutputSpec, PreprocessSpec, SoundSpec
from nip_runtime.file.manifest.honesty import CoverageInfo, VerdictInfo
from nip_runtime.file.manifest.measured import CalibrationInfo, ConversionInfo, VerificationInfo
from nip_runtime.file.manifest.model import SCHEMA_VERSION, Digests, Manifest, Provenance
from nip_runtime.file.manifest.reader import read_manifest

__all__ = [
    "SCHEMA_VERSION",
    "BankInfo",
    "BankStorage",
    "CalibrationInfo",
    "ConversionInfo",
    "CoverageInfo",
    "DefenceInfo",
    "Digests",
    "GateInfo",
    "InputSpec",
    "Interpolation",
    "Labels",
    "Layout",
    "Manifest",
    "OutputSpec",
    "PerturbationMethod",
    "Policy",
    "Precision",
    "PreprocessSpec",
    "Provenance",
    "Resampling",
    "Resize",
    "SecondPassInfo",
    "SettingsInfo",
    "SoundCut",
    "SoundSpec",
    "TapInfo",
    "VerdictInfo",
    "VerificationInfo",
    "ViewInfo",
    "ViewStep",
    "read_manifest",
]
