"""onnxruntime-web, which runs the file in the page: three files of one npm package, pinned by a lock file.

They are fetched once, at build time, and served from the page's own origin; nothing is fetched when it runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from nip_runtime.errors import DependencyError
from nip_runtime.support.writing import write_whole

FETCH: Final = "nip ui --fetch"
PACKAGE: Final = "onnxruntime-web"
FILES: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_VERSION: Final = "version.txt"
_NPM: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")
_PINS: Final = ("package.json", "package-lock.json")
_LONGEST_S: Final = 600


def folder() -> Path:
    """Where the fetched files lie: in the installed package."""
    return Path(str(files("nip_runtime.operate.ui"))) / "engine"


def pinned_version() -> str:
    """The version of onnxruntime-web that the lock file names."""
    lock = json.loads((_pins() / "package-lock.json").read_text(encoding="utf-8"))
    return str(lock["packages"][f"node_modules/{PACKAGE}"]["version"])


def read_engine(place: Path | None = None) -> Mapping[str, bytes]:
    """The files by name.

    Args:
        place: folder that holds them; by default the package's own.

    Raises:
        DependencyError: they were not fetched yet, or are of another version than the lock file's.
    """
    place = folder() if place is None else place
    wanted = pinned_version()
    try:
        found = (place / _VERSION).read_text(encoding="utf-8").strip()
        content = {name: (place / name).read_bytes() for name in FILES}
    except OSError as error:
        raise _absent(wanted, "none") from error
    if found != wanted:
        raise _absent(wanted, f"version {found}")
    return content


def fetch_engine(place: Path | None = None) -> Path:
    """Fetch the files with npm, as the lock file pins them, and put them in their place.

    Args:
        place: folder to write to, made if absent; by default the package's own.

    Returns:
        That folder.

    Raises:
        DependencyError: npm is missing or fails.
        InputError: the folder can't be written to.
    """
    place = folder() if place is None else place
    npm = shutil.which("npm")
    if npm is None:
        raise DependencyError.mismatch(
            expected="npm, which fetches onnxruntime-web",
            got="none on PATH",
            fix="install Node.js 20 or later",
        )
    with tempfile.TemporaryDirectory(prefix="nip-ui-") as work:
        for name in _PINS:
            shutil.copy(_pins() / name, work)
        _run([npm, *_NPM], Path(work))
        dist = Path(work) / "node_modules" / PACKAGE / "dist"
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            write_whole(place / name, (dist / name).read_bytes())
        # Last: it says that the rest is there.
        write_whole(place / _VERSION, f"{pinned_version()}\n".encode())
    return place


def _run(command: list[str], work: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=work, capture_output=True, text=True, errors="replace", timeout=_LONGEST_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise _failed("; ".join(lines[:3]) or f"exit code {done.returncode}")


def _failed(got: str) -> DependencyError:
    return DependencyError.mismatch(
        expected=f"npm to fetch {PACKAGE} {pinned_version()}",
        got=got,
        fix="check the network and npm's registry setting, then try again",
    )


def _absent(wanted: str, got: str) -> DependencyError:
    return DependencyError.mismatch(
        expected=f"{PACKAGE} {wanted}, which runs the file in the page",
        got=got,
        fix=f"run {FETCH} once (needs npm; make ui in a checkout)",
    )


def _pins() -> Path:
    return Path(str(files("nip_runtime.operate.ui"))) / "npm"
