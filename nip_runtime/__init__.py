"""Runs self-defending ONNX files with numpy and onnxruntime alone.

    from nip_runtime import DefendedSession

    with DefendedSession("model.nip.onnx") as session:
        result = session.predict(images)  # uint8 (N, H, W, C) or float32 (N, C, H, W) in [0, 1]
        result.labels, result.flagged

Importing this package is cheap: numpy and onnxruntime come in when the first of these names is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nip_runtime.errors import (
    ArtifactError,
    DependencyError,
    DeviceError,
    ExportError,
    InputError,
    NipError,
    OutOfMemoryError,
)

if TYPE_CHECKING:
    from nip_runtime.file.manifest import Manifest, Policy, read_manifest
    from nip_runtime.file.rates import Rate
    from nip_runtime.inputs.arrays import OnBadRow
    from nip_runtime.operate.memory_limit import rows_within
    from nip_runtime.result import Prediction, Reason, RefusedRow
    from nip_runtime.run.providers import OnOutOfMemory, SessionSettings
    from nip_runtime.session import DefendedSession
    from nip_runtime.stream import Answer

# From 1.29 on onnxruntime writes a device id into the user's cache and looks up hosts. It reads this when it
# is first imported, which is later than here. Set it to 0 to have telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "ArtifactError",
    "DefendedSession",
    "DependencyError",
    "DeviceError",
    "ExportError",
    "InputError",
    "Manifest",
    "NipError",
    "OnBadRow",
    "OnOutOfMemory",
    "OutOfMemoryError",
    "Policy",
    "Prediction",
    "Rate",
    "Reason",
    "RefusedRow",
    "SessionSettings",
    "__version__",
    "read_manifest",
    "rows_within",
]

_HOME: Final = {
    "Answer": "nip_runtime.stream",
    "DefendedSession": "nip_runtime.session",
    "Manifest": "nip_runtime.file.manifest",
    "Policy": "nip_runtime.file.manifest",
    "OnBadRow": "nip_runtime.inputs.arrays",
    "OnOutOfMemory": "nip_runtime.run.providers",
    "Prediction": "nip_runtime.result",
    "Rate": "nip_runtime.file.rates",
    "Reason": "nip_runtime.result",
    "RefusedRow": "nip_runtime.result",
    "SessionSettings": "nip_runtime.run.providers",
    "read_manifest": "nip_runtime.file.manifest",
    "rows_within": "nip_runtime.operate.memory_limit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
