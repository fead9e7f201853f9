"""``nip doctor``: what is installed, which devices really work, and how to cure the rest."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from nip_runtime import __version__
from nip_runtime.errors import DependencyError
from nip_runtime.run.providers import (
    CPU,
    CUDA,
    TENSORRT,
    Check,
    Device,
    DeviceKind,
    UsableCores,
    check_device,
    registered_providers,
    usable_cores,
)
from nip_runtime.support.dependencies import OLDEST_ONNXRUNTIME, ONNXRUNTIME_BUILDS, broken, load, version_of

NAME: Final = "doctor"
HELP: Final = "say what is installed and which devices really work"
_NOTHING_WORKS: Final = 1
_FATAL: Final = 4
_TRIAL: Final = (
    "from nip_runtime.support.dependencies import load;"
    " from nip_runtime.run.providers import Device, DeviceKind, check_device;"
    " check_device(load('onnxruntime'), Device(DeviceKind.CPU))"
)
_OPENCV_BUILDS: Final = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Says what is installed, how many cores this process may use, runs a small model\n"
        "on every device that onnxruntime offers and compares the numbers, says which one\n"
        "is picked, why CUDA does not work and what to do about it."
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
    cores: UsableCores
    checks: tuple[Check, ...]
    picked: str
    advice: tuple[str, ...]


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    diagnosis = _diagnose()
    print(json.dumps(asdict(diagnosis)) if args.json else "\n".join(_lines(diagnosis)))
    return 0 if any(check.works for check in diagnosis.checks) else _NOTHING_WORKS


def _diagnose() -> _Diagnosis:
    packages = [
        _package("numpy"),
        *_installed(ONNXRUNTIME_BUILDS),
        *_installed(_OPENCV_BUILDS),
        _package("torch"),
    ]
    advice: list[str] = []
    builds = [package.name for package in _installed(ONNXRUNTIME_BUILDS)]
    if len(builds) > 1:
        advice.append(
            f"{' and '.join(builds)} are {'both' if len(builds) == 2 else 'all'} installed"
            " and overwrite each other:"
            f" pip uninstall {' '.join(builds)},"
            ' then pip install "nip-runtime[cpu]" or "nip-runtime[gpu]"'
        )
    if not any(_package(name).version for name in _OPENCV_BUILDS):
        advice.append('image files need OpenCV: pip install "nip-runtime[vision]"')
    checks: list[Check] = []
    try:
        _try_elsewhere()
        ort = load("onnxruntime")
        # Its own log would repeat in its words, on standard error, what is said here in ours.
        ort.set_default_logger_severity(_FATAL)
        checks = _checks(ort)
        advice += _advise_on_age(ort)
    except DependencyError as error:
        advice.insert(0, str(error))
    return _Diagnosis(
        python=platform.python_version(),
        system=platform.platform(),
        nip_runtime=__version__,
        packages=tuple(packages),
        cores=usable_cores(),
        checks=tuple(checks),
        picked=_picked(checks),
        advice=tuple(advice),
    )


def _try_elsewhere() -> None:
    """Use onnxruntime in another process: a damaged library would end this one.

    Raises:
        DependencyError: as :func:`load`; or if that process was ended.
    """
    done = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    causes = [line for line in said if line.startswith(("ImportError", "AttributeError"))] or said[-1:]
    if done.returncode < 0:
        problem = f"using it ends the process with {signal.Signals(-done.returncode).name}"
        raise broken("onnxruntime", "; ".join([problem, *causes[-1:]]))
    ours = f"{DependencyError.__module__}.{DependencyError.__name__}: "
    if done.returncode > 0 and said and said[-1].startswith(ours):
        raise DependencyError(said[-1].removeprefix(ours))


def _advise_on_age(ort: Any) -> list[str]:
    if version_of(ort) >= OLDEST_ONNXRUNTIME:
        return []
    oldest = ".".join(map(str, OLDEST_ONNXRUNTIME))
    return [
        f"onnxruntime {ort.__version__} is older than {oldest}, the oldest that nip-runtime is made for:"
        ' pip install --upgrade "nip-runtime[cpu]" or "nip-runtime[gpu]"'
    ]


def _checks(ort: Any) -> list[Check]:
    # Azure's provider calls a remote service; it is part of every CPU build and no device.
    known = (CPU, CUDA, TENSORRT, "AzureExecutionProvider")
    available = ort.get_available_providers()
    others = sorted({*available, *registered_providers(ort)}.difference(known))
    devices = [Device(DeviceKind.CPU), Device(DeviceKind.CUDA)]
    devices += [Device(DeviceKind.TENSORRT)] * (TENSORRT in available)
    devices += [Device(DeviceKind.PROVIDER, name=name) for name in others]
    return [check_device(ort, device) for device in devices]


def _picked(checks: list[Check]) -> str:
    """What "auto" takes, "" for none."""
    works = {check.provider for check in checks if check.works}
    return "cuda:0" if CUDA in works else "cpu" if CPU in works else ""


def _package(name: str) -> _Package:
    try:
        return _Package(name, version(name))
    except PackageNotFoundError:
        return _Package(name, None)


def _installed(builds: tuple[str, ...]) -> list[_Package]:
    """Those of several builds that are there, or the first as missing."""
    found = [package for package in map(_package, builds) if package.version is not None]
    return found or [_Package(builds[0], None)]


def _verdict(check: Check) -> str:
    if not check.works:
        return f"does not work: {check.problem}"
    return "works, but rounds float32 numbers" if check.rounds else "works"


def _lines(diagnosis: _Diagnosis) -> list[str]:
    cores = diagnosis.cores
    lines = [
        f"nip-runtime {diagnosis.nip_runtime}, Python {diagnosis.python} on {diagnosis.system}",
        "",
        "packages",
        *(f"  {package.name:<24}{package.version or 'not installed'}" for package in diagnosis.packages),
        "",
        "processor",
        f"  {cores.count} usable core{'s' * (cores.count != 1)}: {cores.reason}",
        "",
        "devices",
    ]
    for check in diagnosis.checks:
        lines.append(f"  {check.provider:<28}{_verdict(check)}")
        if check.cure:
            lines.append(f"  {'':<28}to use it: {check.cure}")
    if not diagnosis.checks:
        lines.append("  none")
    if diagnosis.picked:
        lines.append(f"  {'auto':<28}takes {diagnosis.picked}")
    return [
        *lines,
        *(["", "advice"] if diagnosis.advice else []),
        *(f"  {line}" for line in diagnosis.advice),
    ]
