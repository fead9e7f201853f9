"""The recipe of docs/small-devices.md, run as it stands: what it installs, and how long a cold start takes.

    python -m benchmarks.hardening.edge [--model F.onnx] [--starts 15] [--save]

Builds the wheel, installs it three times into new virtual environments without torch (as pip does by default,
without compiled files, and by the recipe), compares their answers with this environment's, and starts fresh
processes until the first answer. Needs the network or an index for pip.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.hardening.example import export_example
from benchmarks.hardening.record import Count, Record, command_line, finish
from nip_runtime import DefendedSession

ROOT: Final = Path(__file__).resolve().parents[2]
_LIMIT_BYTES: Final = 120_000_000
_PLACE: Final = '"nip-runtime[cpu]"'
_DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
_DEFENDED: Final = (
    "import sys, numpy; from nip_runtime import DefendedSession;"
    "s = DefendedSession(sys.argv[1], device='cpu', threads=1);"
    "x = numpy.load(sys.argv[2]); print(s.predict(x).logits.tobytes().hex())"
)
_PLAIN: Final = (
    "import sys, numpy, onnxruntime as o; c = o.SessionOptions(); c.intra_op_num_threads = 1;"
    "s = o.InferenceSession(sys.argv[1], c, providers=['CPUExecutionProvider']);"
    "x = numpy.load(sys.argv[2]); print(s.run(None, {s.get_inputs()[0].name: x})[0].tobytes().hex())"
)
_TOOLS: Final = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
_FOREIGN: Final = (
    "import importlib.util as u; print([m for m in ('torch', 'onnx', 'cv2', 'scipy') if u.find_spec(m)])"
)
_INSTALLS: Final = {
    "as pip installs it": ('edge/bin/pip install --quiet "nip-runtime[cpu]"',),
    "without compiled files": ('edge/bin/pip install --quiet --no-compile "nip-runtime[cpu]"',),
}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One virtual environment.

    Attributes:
        bytes: of everything in it but Python, pip and setuptools.
        start_ms: a fresh process up to the first answer of a defended file, median.
        uncached_ms: likewise, the system's file cache emptied before; None where that is not allowed.
        plain_ms: likewise with onnxruntime alone.
        python_ms: a process that does nothing.
    """

    bytes: int
    start_ms: float
    uncached_ms: float | None
    plain_ms: float
    python_ms: float


def recipe(page: str) -> tuple[str, ...]:
    """The commands of the recipe for small devices, after the one that makes the virtual environment.

    Raises:
        ValueError: it is not there.
    """
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        first, *rest = block.strip().splitlines()
        if first.startswith("python3 -m venv edge") and any(_PLACE in line for line in rest):
            return tuple(rest)
    raise ValueError("docs/small-devices.md: expected a block that starts with `python3 -m venv edge`")


def measure(folder: Path, commands: Sequence[str], wheel: Path, model: Path, starts: int) -> Installed:
    """Install by ``commands`` in ``folder``, check the answers, and time cold starts.

    Raises:
        RuntimeError: something foreign is installed, or the answers differ from this environment's.
    """
    succeed([sys.executable, "-m", "venv", "edge"], folder)
    what = f'-c {ROOT / "constraints.txt"} "{wheel}[cpu]"'
    succeed(["bash", "-euc", "\n".join(commands).replace(_PLACE, what)], folder)
    python = folder / "edge" / "bin" / "python"
    (packages,) = (folder / "edge" / "lib").glob("python3*/site-packages")
    size = sum(
        path.lstat().st_size
        for path in packages.rglob("*")
        if path.is_file() and not path.relative_to(packages).parts[0].startswith(_TOOLS)
    )
    foreign = succeed([python, "-c", _FOREIGN], folder).strip()
    if foreign != "[]":
        raise RuntimeError(f"expected nothing but onnxruntime and numpy, got {foreign}")
    images = folder / "images.npy"
    with DefendedSession(model, device="cpu", threads=1) as session:
        spec = session.manifest.input
        np.save(images, np.random.default_rng(0).random((1, *spec.shape), np.float32))
        expected = session.predict(np.load(images)).logits.tobytes().hex()
    run: list[str | Path] = [python, "-c", _DEFENDED, model, images]
    if succeed(run, folder).strip() != expected:
        raise RuntimeError("the answers differ from this environment's")
    plain: list[str | Path] = [python, "-c", _PLAIN, model, images]
    cases: dict[str, list[str | Path]] = {"start": run, "plain": plain, "python": [python, "-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(starts):
        for name, command in cases.items():
            times[name].append(timed(command, folder))
    return Installed(
        bytes=size,
        start_ms=statistics.median(times["start"]),
        uncached_ms=uncached(run, folder),
        plain_ms=statistics.median(times["plain"]),
        python_ms=statistics.median(times["python"]),
    )


def uncached(command: Sequence[str | Path], folder: Path, repeats: int = 5) -> float | None:
    """Median milliseconds of a start with an empty file cache; None if we may not empty it."""
    if not os.access(_DROP_CACHES, os.W_OK):
        return None
    found = []
    for _ in range(repeats):
        os.sync()
        try:
            _DROP_CACHES.write_text("3")
        except OSError:
            return None
        found.append(timed(command, folder))
    return statistics.median(found)


def timed(command: Sequence[str | Path], folder: Path) -> float:
    """Milliseconds of one process."""
    start = time.perf_counter()
    succeed(command, folder)
    return (time.perf_counter() - start) * 1e3


def succeed(command: Sequence[str | Path], folder: Path) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def built_wheel(folder: Path) -> Path:
    """This checkout as a wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    succeed([*pip, "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT], folder)
    return next(folder.glob("*.whl"))


def recorded(found: dict[str, Installed], command: str) -> Record:
    """The counts of all installations; the last is the recipe."""
    counts = []
    for name, one in found.items():
        is_recipe = name == list(found)[-1]
        counts += [
            Count(
                what=f"installed, {name}",
                value=round(one.bytes / 1e6, 1),
                unit="MB",
                wanted="under 120 MB" if is_recipe else "",
                met=one.bytes < _LIMIT_BYTES if is_recipe else None,
            ),
            Count(what=f"cold start to first answer, {name}", value=round(one.start_ms), unit="ms"),
            Count(what=f"the same with onnxruntime alone, {name}", value=round(one.plain_ms), unit="ms"),
            Count(what=f"Python alone, {name}", value=round(one.python_ms), unit="ms"),
        ]
        if one.uncached_ms is not None:
            counts.append(
                Count(what=f"cold start, file cache empty, {name}", value=round(one.uncached_ms), unit="ms")
            )
    return Record(name="edge", command=command, counts=tuple(counts), details={})


def main() -> int:
    """Measure all three installations."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hardening.edge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, help="defended file (default: the embedded example, exported now)"
    )
    parser.add_argument(
        "--starts", type=int, default=15, help="fresh processes per installation (default 15)"
    )
    parser.add_argument("--save", action="store_true", help="write results/hardening/edge.json")
    args = parser.parse_args()
    page = (ROOT / "docs" / "small-devices.md").read_text(encoding="utf-8")
    installs = _INSTALLS | {"by the recipe": recipe(page)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model.resolve() if args.model else export_example(folder / "model.nip.onnx")
        wheel = built_wheel(folder)
        found = {}
        for number, (what, commands) in enumerate(installs.items()):
            print(f"{number + 1} of {len(installs)}: {what} …", file=sys.stderr)
            (place := folder / str(number)).mkdir()
            found[what] = measure(place, commands, wheel, model, args.starts)
    record = recorded(found, command_line("edge"))
    return finish(record, saves=args.save)


if __name__ == "__main__":
    raise SystemExit(main())
