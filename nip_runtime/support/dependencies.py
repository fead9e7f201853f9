"""Optional packages: loads them when first needed and says how to get the missing ones."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from nip_runtime.errors import DependencyError

_EXTRAS: Final = {
    "onnxruntime": ("cpu", "gpu"),
    "cv2": ("vision",),
    "soundfile": ("audio",),
    "torch": ("export",),
    "onnx": ("export",),
    "onnx_ir": ("export",),
    "onnxscript": ("export",),
    "onnx2fx": ("onnx-in",),
    "safetensors": ("export",),
    "rich": ("export",),
    "foolbox": ("eval",),
    "art": ("eval",),
    "scipy": ("eval",),
    "eagerpy": ("eval",),
    "matplotlib": ("eval",),
    "jinja2": ("eval",),
    "markupsafe": ("eval",),
    "prometheus_client": ("serve",),
    "starlette": ("serve",),
    "uvicorn": ("serve",),
    "cryptography": ("sign",),
    "distributed": ("scale",),
    "pyarrow": ("scale",),
}


ONNXRUNTIME_BUILDS: Final = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-migraphx",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
)
"""Distributions that all install the one module, over each other."""
OLDEST_ONNXRUNTIME: Final = (1, 20)
_FIRST_FOR_NUMPY_2: Final = (1, 19)

_DISTRIBUTIONS: Final = {"onnxruntime": ONNXRUNTIME_BUILDS}
_SIGN_OF_LIFE: Final = {"onnxruntime": "InferenceSession"}
"""What an installation has that is whole: of one of two builds, uninstalled, empty folders are left."""


def load(module: str) -> ModuleType:
    """Import an optional third-party module.

    Raises:
        DependencyError: if it is missing, naming the extra that brings it, or if it does not load.
    """
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(f"{module}."):  # a part of it: it is there, but not whole
            raise broken(module, str(error)) from error
        raise missing(error) from error
    except Exception as error:  # whatever a library says that does not fit: SystemError for another numpy's
        raise broken(module, str(error)) from error
    if not hasattr(found, _SIGN_OF_LIFE.get(module, "__name__")):
        raise broken(module, f"nothing is left of it but its name in {next(iter(found.__path__))}")
    if module == "onnxruntime":
        _check_numpy(found)
    return found


def _check_numpy(onnxruntime: ModuleType) -> None:
    """Refuse an onnxruntime for numpy 1 beside numpy 2: it imports, and ends the process when it is used."""
    import numpy

    if int(numpy.__version__.partition(".")[0]) >= 2 and version_of(onnxruntime) < _FIRST_FOR_NUMPY_2:
        raise broken(
            "onnxruntime", f"its version {onnxruntime.__version__} is not made for numpy {numpy.__version__}"
        )


def version_of(module: ModuleType) -> tuple[int, int]:
    """Major and minor version of a module."""
    major, minor, *_ = module.__version__.split(".")
    return int(major), int(minor)


def broken(module: str, problem: str) -> DependencyError:
    """Say that a package does not load, and what to do: pip alone would find it installed."""
    return DependencyError.mismatch(
        expected=f"a working {module}",
        got=f"one that does not load ({problem})",
        fix=f"pip uninstall {' '.join(installed(module))}, then {_install(module)}",
    )


def installed(module: str) -> list[str]:
    """Distributions that bring a module and are installed, or the first that would."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and seldom needed

    found = []
    names = _DISTRIBUTIONS.get(module, (module,))
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found or [names[0]]


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
