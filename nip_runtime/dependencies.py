"""Optional packages: loads them when first needed and says how to get the missing ones."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from nip_runtime.errors import DependencyError

_EXTRAS: Final = {
    "onnxruntime": ("cpu", "gpu"),
    "cv2": ("vision",),
    "torch": ("export",),
    "onnx": ("export",),
    "onnx_ir": ("export",),
    "onnxscript": ("export",),
    "safetensors": ("export",),
    "rich": ("export",),
    "foolbox": ("eval",),
    "eagerpy": ("eval",),
    "matplotlib": ("eval",),
    "jinja2": ("eval",),
    "prometheus_client": ("serve",),
    "cryptography": ("sign",),
    "distributed": ("scale",),
    "pyarrow": ("scale",),
}


def load(module: str) -> ModuleType:
    """Import an optional third-party module.

    Raises:
        DependencyError: if it is missing, naming the extra that brings it, or if it does not load.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except (ImportError, OSError) as error:
        raise DependencyError.mismatch(
            expected=f"a working {module}",
            got=f"one that does not load ({error})",
            fix=f"reinstall it, or a build that fits this machine: {_install(module)}",
        ) from error


def missing(error: ModuleNotFoundError) -> DependencyError:
    """Say which package an import missed and how to install it."""
    module = (error.name or str(error)).partition(".")[0]
    return DependencyError.mismatch(
        expected=f"the package {module}", got="none installed", fix=_install(module)
    )


def _install(module: str) -> str:
    extras = _EXTRAS.get(module)
    if extras is None:
        return f"install {module}"
    return " or ".join(f'pip install "nip-runtime[{extra}]"' for extra in extras)
