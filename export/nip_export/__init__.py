"""Turns a trained PyTorch classifier into one ONNX file that defends itself.

Needs the extra ``export``: ``pip install "nip-runtime[export]"``. Importing this package alone
imports no torch; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import nip_runtime  # noqa: F401 (before onnxruntime, whose telemetry it switches off)

if TYPE_CHECKING:
    from nip_export.config import ExportConfig
    from nip_export.onnx_in import from_onnx
    from nip_export.pipeline import export_defended
    from nip_export.write.report import ExportReport
    from nip_runtime.file.manifest import PerturbationMethod, Precision

__all__ = ["ExportConfig", "ExportReport", "PerturbationMethod", "Precision", "export_defended", "from_onnx"]

_HOMES = {
    "ExportConfig": "config",
    "PerturbationMethod": "config",
    "Precision": "config",
    "export_defended": "pipeline",
    "ExportReport": "write.report",
    "from_onnx": "onnx_in",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
