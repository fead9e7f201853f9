"""``nip doctor``: what is installed, which devices really work, and how to cure the rest."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from nip_runtime import __version__
from nip_runtime.dependencies import load
from nip_runtime.errors import DependencyError
from nip_runtime.providers import CPU, CUDA, Check, Device, DeviceKind, check_device, check_provider

NAME: Final = "doctor"
HELP: Final = "say what is installed and which devices really work"
_NOTHING_WORKS: Final = 1
_ONNXRUNTIME_BUILDS: Final = ("onnxruntime", "onnxruntime-gpu")
_OPENCV_BUILDS: Final = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Says what is installed, runs a small model on every device that onnxruntime\n"
        "offers and compares the numbers, and says why CUDA does not work and what to\n"
        "do about it."
    )
    parser.epilog = "example:\n  nip doctor\n\nexit code: 0 if at least one device works, 1 if none does"
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


@dataclass(frozen=True)
class _Package:
    """An installed distribution; ``version`` is None where it is missing."""

    name: str
    version: str | None


@dataclass(frozen=True)
class _Diagnosis:
    python: str
    system: str
    nip_runtime: str
    packages: tuple[_Package, ...]
    checks: tuple[Check, ...]
    advice: tuple[str, ...]


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    diagnosis = _diagnose()
    print(json.dumps(asdict(diagnosis)) if args.json else "\n".join(_lines(diagnosis)))
    return 0 if any(check.works for check in diagnosis.checks) else _NOTHING_WORKS


def _diagnose() -> _Diagnosis:
    packages = [
        _package("numpy"),
        *_installed(_ONNXRUNTIME_BUILDS),
        *_installed(_OPENCV_BUILDS),
        _package("torch"),
    ]
    advice: list[str] = []
    if all(_package(name).version for name in _ONNXRUNTIME_BUILDS):
        advice.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: uninstall both,"
            ' then pip install "nip-runtime[cpu]" or "nip-runtime[gpu]"'
        )
    if not any(_package(name).version for name in _OPENCV_BUILDS):
        advice.append('image files need OpenCV: pip install "nip-runtime[vision]"')
    checks: list[Check] = []
    try:
        checks = _checks(load("onnxruntime"))
    except DependencyError as error:
        advice.insert(0, str(error))
    return _Diagnosis(
        python=platform.python_version(),
        system=platform.platform(),
        nip_runtime=__version__,
        packages=tuple(packages),
        checks=tuple(checks),
        advice=tuple(advice),
    )


def _checks(ort: Any) -> list[Check]:
    # Azure's provider calls a remote service; it is part of every CPU build and no device.
    known = (CPU, CUDA, "AzureExecutionProvider")
    others = [name for name in ort.get_available_providers() if name not in known]
    return [
        check_device(ort, Device(DeviceKind.CPU)),
        check_device(ort, Device(DeviceKind.CUDA)),
        *(check_provider(ort, name, {}) for name in others),
    ]


def _package(name: str) -> _Package:
    try:
        return _Package(name, version(name))
    except PackageNotFoundError:
        return _Package(name, None)


def _installed(builds: tuple[str, ...]) -> list[_Package]:
    """Those of several builds that are there, or the first as missing."""
    found = [package for package in map(_package, builds) if package.version is not None]
    return found or [_Package(builds[0], None)]


def _lines(diagnosis: _Diagnosis) -> list[str]:
    lines = [
        f"nip-runtime {diagnosis.nip_runtime}, Python {diagnosis.python} on {diagnosis.system}",
        "",
        "packages",
        *(f"  {package.name:<24}{package.version or 'not installed'}" for package in diagnosis.packages),
        "",
        "devices",
    ]
    for check in diagnosis.checks:
        lines.append(f"  {check.provider:<28}{'works' if check.works else f'does not work: {check.problem}'}")
        if check.cure:
            lines.append(f"  {'':<28}to use it: {check.cure}")
    if not diagnosis.checks:
        lines.append("  none")
    return [
        *lines,
        *(["", "advice"] if diagnosis.advice else []),
        *(f"  {line}" for line in diagnosis.advice),
    ]
