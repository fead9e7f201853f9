"""The manifest: what a defended file says about its input, its defence, how it was calibrated and checked."""

from nip_runtime.manifest.model import (
    SCHEMA_VERSION,
    BankInfo,
    BankStorage,
    CalibrationInfo,
    DefenceInfo,
    Digests,
    InputSpec,
    Layout,
    Manifest,
    OutputSpec,
    Policy,
    Provenance,
    Resize,
    TapInfo,
    VerificationInfo,
)
from nip_runtime.manifest.reader import read_manifest

__all__ = [
    "SCHEMA_VERSION",
    "BankInfo",
    "BankStorage",
    "CalibrationInfo",
    "DefenceInfo",
    "Digests",
    "InputSpec",
    "Layout",
    "Manifest",
    "OutputSpec",
    "Policy",
    "Provenance",
    "Resize",
    "TapInfo",
    "VerificationInfo",
    "read_manifest",
]
