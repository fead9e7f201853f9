"""Wrong, missing and broken onnxruntimes, for real: does `nip doctor` name each and its cure?

    python -m benchmarks.hardening.provider_faults [--wheels FOLDER] [--save]

Installs the faults into new virtual environments: the GPU build without CUDA, both builds over each other,
one of them uninstalled again, libraries removed and cut short, versions of another age. There `nip doctor`
must name what is wrong and what to do, and a session on CUDA must refuse with the same words instead of
computing elsewhere. What doctor advises against a broken installation is then done, and must help. Downloads
about 300 MB into --wheels, if they are not there. Where a driver is part of the case, a library of two
functions stands in for it. Takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.hardening.record import Count, Record, save, show
from nip_runtime.cli.progress import Progress

ROOT: Final = Path(__file__).resolve().parents[2]
GOLDEN: Final = ROOT / "tests" / "goldens" / "guarded.onnx"
CPU: Final = "onnxruntime==1.31.1"
GPU: Final = "onnxruntime-gpu==1.31.1"
NUMPY: Final = "numpy==2.4.6"
OLD: Final = "onnxruntime==1.16.3"
NUMPY_1: Final = "numpy==1.26.4"
_SESSION: Final = (
    "import sys; from nip_runtime import DefendedSession, NipError\n"
    "try: print('opened on', DefendedSession(sys.argv[1], device='cuda').device)\n"
    "except NipError as error: print(type(error).__name__, error)"
)
_DRIVER: Final = (
    "int cuInit(unsigned flags) {{ return 0; }}\n"
    "int cuDeviceGetCount(int *count) {{ *count = {devices}; return 0; }}\n"
)
_BOTH: Final = r"onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
_REPAIR: Final = r"pip uninstall [a-z -]+, then pip install \"nip-runtime\[cpu\]\""
_TO_GPU: Final = r"pip uninstall [a-z -]+, then pip install \"nip-runtime\[gpu\]\""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with one environment.

    Attributes:
        name: in words.
        packages: installed one after the other.
        doctor: pattern of what `nip doctor` must say of it.
        cure: pattern of what it must advise.
        session: pattern of what a session on CUDA must say; "" where no process survives the import.
        damage: done to the installed environment: its folder of packages, and pip there.
        devices: of a stand-in driver; None for no driver.
        repair: distributions to uninstall and the build to install, as advised; () where none heals here.
    """

    name: str
    packages: tuple[str, ...]
    doctor: str
    cure: str
    session: str
    damage: Callable[[Environment], None] | None = None
    devices: int | None = None
    repair: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: of it.
        wheels: where packages come from.
    """

    folder: Path
    wheels: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def library(self) -> Path:
        """onnxruntime's library for Python."""
        (found,) = self.folder.glob("lib/*/site-packages/onnxruntime/capi/onnxruntime_pybind11_state*.so")
        return found

    def pip(self, *arguments: str) -> None:
        """Run pip on it."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def install(self, package: str) -> None:
        """Install one package, alone."""
        self.pip("install", "--quiet", "--no-deps", "--no-index", "--find-links", str(self.wheels), package)

    def run(self, *arguments: str, libraries: Path | None) -> str:
        """What its interpreter says on standard output."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        if libraries is not None:
            environment["LD_LIBRARY_PATH"] = str(libraries)
        done = subprocess.run(
            [self.python, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return " ".join(done.stdout.split())


def _uninstall_cpu(environment: Environment) -> None:
    environment.pip("uninstall", "--quiet", "--yes", "onnxruntime")


def _remove_library(environment: Environment) -> None:
    environment.library().unlink()


def _cut_library(environment: Environment) -> None:
    os.truncate(environment.library(), 100_000)


FAULTS: Final = (
    Fault(
        name="CUDA asked for, CPU build",
        packages=(NUMPY, CPU),
        doctor="CUDAExecutionProvider does not work: this onnxruntime is built without CUDA",
        cure=_TO_GPU,
        session=f"DeviceError .*built without CUDA; {_TO_GPU}",
    ),
    Fault(
        name="GPU build, no driver",
        packages=(NUMPY, GPU),
        doctor="CUDAExecutionProvider does not work: no NVIDIA driver is installed",
        cure="install the NVIDIA driver",
        session="DeviceError .*no NVIDIA driver is installed; install the NVIDIA driver",
    ),
    Fault(
        name="GPU build, a driver that sees no device",
        packages=(NUMPY, GPU),
        devices=0,
        doctor="CUDAExecutionProvider does not work: the NVIDIA driver sees no device",
        cure="check nvidia-smi and CUDA_VISIBLE_DEVICES",
        session="DeviceError .*the NVIDIA driver sees no device; check nvidia-smi",
    ),
    Fault(
        name="GPU build, CUDA libraries missing",
        packages=(NUMPY, GPU),
        devices=1,
        doctor=r"CUDAExecutionProvider does not work: a CUDA library does not load \(lib\w+\.so",
        cure=r'pip install "nip-runtime\[gpu\]" brings CUDA and cuDNN',
        session=r"DeviceError .*a CUDA library does not load \(lib\w+\.so.*nip-runtime\[gpu\]",
    ),
    Fault(
        name="both builds, the GPU one last",
        packages=(NUMPY, CPU, GPU),
        doctor=_BOTH,
        cure=_REPAIR,
        session="DeviceError .*no NVIDIA driver is installed",
        repair=("onnxruntime", "onnxruntime-gpu", CPU),
    ),
    Fault(
        name="both builds, the CPU one last",
        packages=(NUMPY, GPU, CPU),
        doctor=_BOTH,
        cure=_REPAIR,
        session="DeviceError .*built without CUDA; pip uninstall onnxruntime onnxruntime-gpu, then",
        repair=("onnxruntime", "onnxruntime-gpu", CPU),
    ),
    Fault(
        name="both builds, one uninstalled again",
        packages=(NUMPY, CPU, GPU),
        damage=_uninstall_cpu,
        doctor="got one that does not load",
        cure=_REPAIR,
        session=f"DependencyError .*does not load .*{_REPAIR}",
        repair=("onnxruntime-gpu", CPU),
    ),
    Fault(
        name="no onnxruntime",
        packages=(NUMPY,),
        doctor="expected the package onnxruntime, got none installed",
        cure=r"pip install \"nip-runtime\[cpu\]\"",
        session="DependencyError .*got none installed; pip install",
        repair=(CPU,),
    ),
    Fault(
        name="onnxruntime's library removed",
        packages=(NUMPY, CPU),
        damage=_remove_library,
        doctor="got one that does not load",
        cure=_REPAIR,
        session=f"DependencyError .*does not load .*{_REPAIR}",
        repair=("onnxruntime", CPU),
    ),
    Fault(
        name="onnxruntime's library cut short",
        packages=(NUMPY, CPU),
        damage=_cut_library,
        doctor=r"does not load \(using it ends the process with SIG",
        cure=_REPAIR,
        session="",
        repair=("onnxruntime", CPU),
    ),
    Fault(
        name="onnxruntime too old",
        packages=(NUMPY_1, OLD),
        doctor=r"onnxruntime 1\.16\.3 is older than 1\.20",
        cure=r"pip install --upgrade \"nip-runtime\[cpu\]\"",
        session="DeviceError .*built without CUDA",
        repair=("numpy", "onnxruntime", NUMPY, CPU),
    ),
    Fault(
        name="onnxruntime too old for this numpy",
        packages=(NUMPY, OLD),
        doctor="does not load .*numpy",
        cure=_REPAIR,
        session=r"DependencyError .*its version 1\.16\.3 is not made for numpy 2",
        repair=("onnxruntime", CPU),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one fault came to; ``said`` by doctor and session, on one line each."""

    fault: Fault
    named: bool
    cured: bool
    refused: bool
    healed: bool
    said: tuple[str, str]


def try_fault(fault: Fault, folder: Path, wheels: Path) -> Outcome:
    """Make an environment with one fault, ask doctor and a session, and follow the advice."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    environment = Environment(folder, wheels)
    for package in fault.packages:
        environment.install(package)
    if fault.damage is not None:
        fault.damage(environment)
    libraries = None if fault.devices is None else _stand_in(folder, fault.devices)
    doctor = environment.run("-m", "nip_runtime.cli.main", "doctor", libraries=libraries)
    session = ""
    if fault.session:
        session = environment.run("-c", _SESSION, str(GOLDEN), libraries=libraries)
    healed = not fault.repair or _heals(environment, fault.repair)
    return Outcome(
        fault=fault,
        named=re.search(fault.doctor, doctor) is not None,
        cured=re.search(fault.cure, doctor) is not None,
        refused=re.search(fault.session, session) is not None and "opened on" not in session,
        healed=healed,
        said=(doctor, session),
    )


def _heals(environment: Environment, repair: Sequence[str]) -> bool:
    """Follow the advice; whether a healthy CPU is what doctor then sees, and nothing to complain of."""
    gone = [name for name in repair if "==" not in name]
    if gone:
        environment.pip("uninstall", "--quiet", "--yes", *gone)
    for package in repair:
        if "==" in package:
            environment.install(package)
    said = environment.run("-m", "nip_runtime.cli.main", "doctor", libraries=None)
    return "CPUExecutionProvider works" in said and not re.search("does not load|overwrite|older", said)


def _stand_in(folder: Path, devices: int) -> Path:
    """A driver that answers as if it saw so many devices."""
    source = folder / "driver.c"
    source.write_text(_DRIVER.format(devices=devices), encoding="ascii")
    command = ["cc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder


def fetch(folder: Path) -> None:
    """Download what is not there yet."""
    for package in (CPU, GPU, NUMPY, OLD, NUMPY_1):
        name, _, version = package.partition("==")
        if not list(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
            subprocess.run([*command, package], check=True, stdout=sys.stderr)


def record(outcomes: Sequence[Outcome]) -> Record:
    """The counts to show."""
    tried = len(outcomes)
    with_session = [one for one in outcomes if one.fault.session]
    with_repair = [one for one in outcomes if one.fault.repair]
    rows = (
        ("faulty installations that nip doctor names", outcomes, "named"),
        ("faulty installations for which nip doctor names the cure", outcomes, "cured"),
        ("sessions on CUDA refused in the same words, none computed elsewhere", with_session, "refused"),
        ("cures followed that helped", with_repair, "healed"),
    )
    counts = []
    for what, among, field in rows:
        met = sum(getattr(one, field) for one in among)
        counts.append(Count(what=what, value=met, of=len(among), wanted="all", met=met == len(among) > 0))
    return Record(
        name="provider_faults",
        command="python -m benchmarks.hardening.provider_faults",
        counts=tuple(counts),
        details={"faults": [one.fault.name for one in outcomes], "tried": tried},
    )


def main() -> int:
    """Run the command; 1 if a fault was not named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="folder of downloaded wheels; default: a new one")
    parser.add_argument(
        "--save", action="store_true", help="write the counts to benchmarks/results/hardening"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wheels = args.wheels or Path(scratch, "wheels")
        wheels.mkdir(exist_ok=True)
        fetch(wheels)
        stage = Progress(sys.stderr)("Installing faults", len(FAULTS))
        outcomes = []
        for number, fault in enumerate(FAULTS):
            outcomes.append(try_fault(fault, Path(scratch, f"v{number}"), wheels))
            stage(1)
    found = record(outcomes)
    print(show(found))
    for one in outcomes:
        if not (one.named and one.cured and one.refused and one.healed):
            print(f"  MISSED {one.fault.name}: {one}", file=sys.stderr)
    if args.save:
        save(found)
    return 0 if all(count.met is not False for count in found.counts) else 1


if __name__ == "__main__":
    sys.exit(main())
