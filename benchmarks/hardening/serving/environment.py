"""An environment for a real Triton server and its clients, whose pins would not suit this package."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.hardening.pinned import make_environment

ROOT: Final = Path(__file__).resolve().parents[3]
REQUIREMENTS: Final = ROOT / "tests" / "environments" / "triton.txt"
_LIBPYTHON: Final = "libpython3.11.so.1.0"
_GLIBC: Final = (2, 35)


@dataclass(frozen=True)
class Environment:
    """A virtual environment with what ``tests/environments/triton.txt`` names."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter, for the clients."""
        return self.folder / "bin" / "python"

    @property
    def triton(self) -> Path:
        """Where the wheel keeps the server."""
        return self._packages / "pytriton" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """Shared libraries that server and python backend load."""
        return self._packages / "nvidia_pytriton.libs"

    @property
    def _packages(self) -> Path:
        return (
            self.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        )


def obstacle() -> str | None:
    """Why the server's wheel cannot run here; None if it can."""
    name, version = platform.libc_ver()
    glibc = tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else ()
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the server's wheel is for Linux on x86_64"
    if sys.version_info[:2] != (3, 11):
        return "the environment is pinned for Python 3.11"
    if glibc < _GLIBC:
        return f"the server's wheel needs glibc {'.'.join(map(str, _GLIBC))}, here is {name} {version}"
    if not _has_libpython():
        return f"{_LIBPYTHON}, which the server's python backend loads, is not installed"
    return None


def _has_libpython() -> bool:
    if (Path(str(sysconfig.get_config_var("LIBDIR"))) / _LIBPYTHON).exists():
        return True
    try:
        ctypes.CDLL(_LIBPYTHON)
    except OSError:
        return False
    return True


def make(folder: Path) -> Environment:
    """Create the environment in an empty or absent folder.

    Raises:
        RuntimeError: pip failed; with what it wrote.
    """
    # The list is complete: the server's wheel asks for packages of its own Python interface, unused here.
    make_environment(REQUIREMENTS, folder)
    return Environment(folder)


def library_folders(environment: Environment) -> str:
    """Where the dynamic loader has to look: the wheel's libraries, and libpython for the python backend."""
    return os.pathsep.join([str(environment.libraries), str(sysconfig.get_config_var("LIBDIR"))])
