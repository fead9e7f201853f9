"""The onnxruntime that travels: the CUDA build's wheel without what runs on CUDA never load."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from benchmarks.gpu.parts import Absent
from nip_runtime.errors import DependencyError, InputError

PACKAGE: Final = "onnxruntime-gpu"
VERSION: Final = "1.31.1"
"""From 1.27 on the wheel is built for CUDA 13."""
PYTHON: Final = "3.12"
"""Of the machine with the GPU."""
PLATFORMS: Final = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)
DROPPED: Final = {
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so": "the TensorRT provider",
    "onnxruntime/transformers/": "tools that rewrite transformers",
    "onnxruntime/quantization/": "tools that quantise",
    "onnxruntime/tools/": "command line tools",
}
"""Starts of paths inside the wheel, and what they are."""


def download(folder: Path) -> Path:
    """Fetch the wheel for the other machine's Python into a folder, unless it is there; 256 MB.

    Raises:
        DependencyError: pip found none.
    """
    found = sorted(folder.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
        command += ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        done = subprocess.run(
            [*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"], capture_output=True, text=True
        )
        found = sorted(folder.glob("*.whl"))
        if done.returncode != 0 or not found:
            raise DependencyError.mismatch(
                expected=f"{PACKAGE} {VERSION} for Python {PYTHON} from the registry",
                got=(done.stderr.strip().splitlines() or ["nothing"])[-1],
                fix="run this where pip reaches a registry, or give the wheel with --wheel",
            )
    return found[0]


def install_wheel(wheel: Path, site: Path) -> tuple[Absent, ...]:
    """Unpack a wheel into a folder that is to stand first on the path; gives what was dropped.

    Raises:
        InputError: no wheel.
    """
    sizes = dict.fromkeys(DROPPED, 0)
    try:
        with zipfile.ZipFile(wheel) as packed:
            for about in packed.infolist():
                start = next((start for start in DROPPED if about.filename.startswith(start)), None)
                if start is None:
                    packed.extract(about, site)
                else:
                    sizes[start] += about.file_size
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError.mismatch(
            expected=f"a wheel at {wheel}", got=str(error), fix="leave --wheel out to fetch it"
        ) from error
    return tuple(
        Absent(start, f"{DROPPED[start]}, {size / 1e6:.1f} MB: not loaded by runs on CUDA")
        for start, size in sizes.items()
        if size
    )


def install_own(site: Path) -> tuple[Absent, ...]:
    """Copy this environment's own CPU build in its place: for a dry run without a registry."""
    own = distribution("onnxruntime")
    for file in own.files or ():
        name = file.as_posix()
        if name.startswith(tuple(DROPPED)) or ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(str(own.locate_file(file))).read_bytes())
    return (
        Absent(f"{PACKAGE} {VERSION}", f"the CPU build {own.version} stands in its place, for a dry run"),
    )
