"""The engines of the matrix: what each is installed from and how it is asked."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from benchmarks.engines.browser import WORKERS, answers_in_page
from benchmarks.engines.case import Case
from benchmarks.engines.job import Answered, read_answers, write_job
from benchmarks.engines.triton import PACKAGES as TRITON
from benchmarks.engines.triton import served
from benchmarks.hardening.pinned import clean_variables, make_environment
from benchmarks.hardening.serving.environment import Environment


class Host(StrEnum):
    """Where an engine runs."""

    PYTHON = "python"
    NODE = "node"
    BROWSER = "browser"
    TRITON = "triton"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine in one version.

    Attributes:
        name: in tables and on the command line.
        host: where it runs.
        worker: its name in ``workers/python_engines.py``, for Python.
        packages: pinned, from PyPI or npm; complete.
        python: the version of Python, such as "3.12"; "" for the one that runs this.
        provider: of onnxruntime-web: "wasm" or "webgpu".
        threads: of WebAssembly, in a browser.
        partial: why it does not run every file; "" if it must.
    """

    name: str
    host: Host
    packages: tuple[str, ...]
    worker: str = ""
    python: str = ""
    provider: str = "wasm"
    threads: int = 1
    partial: str = ""

    @property
    def slug(self) -> str:
        """The name as a file's."""
        return self.name.replace(",", "").replace(" ", "-")


def _runtime(version: str, numpy: str, python: str = "") -> Engine:
    words = f"onnxruntime {version}" + (f", Python {python}" if python else "")
    packages = (f"onnxruntime=={version}", f"numpy=={numpy}")
    return Engine(name=words, host=Host.PYTHON, worker="onnxruntime", packages=packages, python=python)


def _web(threads: int, words: str, *, provider: str = "wasm", partial: str = "") -> Engine:
    return Engine(
        name=f"onnxruntime-web {words}",
        host=Host.BROWSER,
        packages=("onnxruntime-web@1.30.0",),
        provider=provider,
        threads=threads,
        partial=partial,
    )


ENGINES: Final = (
    Engine(
        name="onnx reference",
        host=Host.PYTHON,
        worker="reference",
        packages=(
            "onnx==1.23.2",
            "numpy==2.4.6",
            "protobuf==7.36.2",
            "ml_dtypes==0.6.0",
            "typing_extensions==4.16.0",
        ),
        partial="has no DequantizeLinear below opset 19",
    ),
    _runtime("1.20.1", "1.26.4"),
    _runtime("1.22.1", "2.3.5"),
    _runtime("1.26.0", "2.4.6"),
    _runtime("1.32.0", "2.4.6"),
    _runtime("1.20.1", "1.26.4", "3.12"),
    _runtime("1.22.1", "2.3.5", "3.12"),
    _runtime("1.26.0", "2.4.6", "3.12"),
    _runtime("1.32.0", "2.4.6", "3.12"),
    _runtime("1.20.1", "2.3.5", "3.13"),
    _runtime("1.22.1", "2.3.5", "3.13"),
    _runtime("1.26.0", "2.4.6", "3.13"),
    _runtime("1.32.0", "2.4.6", "3.13"),
    Engine(name="onnxruntime-node", host=Host.NODE, packages=("onnxruntime-node@1.30.0",)),
    _web(1, "WASM"),
    _web(2, "WASM 2 threads"),
    _web(
        1,
        "WebGPU",
        provider="webgpu",
        partial=(
            "can't compute Conv, pools, Softmax, ReduceMax on no rows, and may never answer, so no screen "
            "without a padding row; SwiftShader, on which it ran, has no float16"
        ),
    ),
    Engine(
        name="OpenVINO",
        host=Host.PYTHON,
        worker="openvino",
        packages=("openvino==2026.4.1", "numpy==2.4.6", "openvino-telemetry==2025.2.0"),
        partial="can't compute MaxPool on no rows; with a padding row it runs them",
    ),
    Engine(
        name="OpenCV 5 DNN",
        host=Host.PYTHON,
        worker="opencv",
        packages=("opencv-python-headless==5.0.0.93", "numpy==2.4.6"),
        partial=(
            "does not fit its layers to a number of rows that changes inside the graph, so no screen; "
            "misreads the blur's Mean; ends its process on a transformer and one-dimensional convolutions"
        ),
    ),
    Engine(
        name="OpenCV 4 DNN",
        host=Host.PYTHON,
        worker="opencv",
        packages=("opencv-python-headless==4.14.0.94", "numpy==2.4.6"),
        partial="has no NonZero, which a screen needs, and does not fit what comes after to its shapes",
    ),
    Engine(name="Triton", host=Host.TRITON, packages=TRITON),
)
"""In the order of the table."""


def install(engine: Engine, folder: Path) -> Path:
    """Install an engine in a folder of its own; one that is there already is used again.

    Returns:
        The interpreter for Python and Triton, else ``node_modules``.

    Raises:
        RuntimeError: pip or npm could not, or the version of Python is not here.
    """
    own = folder / "-".join(
        [*engine.packages[0].replace("@", "==").split("=="), *([engine.python] if engine.python else [])]
    )
    done = own / "installed"
    python = engine.host in (Host.PYTHON, Host.TRITON)
    if not done.exists():
        own.mkdir(parents=True, exist_ok=True)
        if python:
            requirements = own / "requirements.txt"
            requirements.write_text("\n".join(engine.packages) + "\n", encoding="utf-8")
            make_environment(requirements, own / "environment", engine.python)
        else:
            _npm(own, engine.packages)
        done.touch()
    return own / "environment" / "bin" / "python" if python else own / "node_modules"


def _npm(folder: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("expected npm on the path, got none; install Node with npm")
    # No install scripts: the CPU's library is in the package, and they would fetch CUDA's.
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    done = subprocess.run(
        [npm, "install", *quiet, "--prefix", str(folder), *packages], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm can't install {' '.join(packages)}:\n{done.stderr}")


@dataclass
class Asked:
    """Asks one installed engine about files.

    Attributes:
        engine: which.
        place: as :func:`install` returned it.
        version: as the engine says it itself, once it has been asked.
    """

    engine: Engine
    place: Path
    version: str = ""

    def answers(self, cases: Sequence[Case], *, rounds: int = 0) -> Iterator[tuple[Case, Answered]]:
        """Ask about every file. If the process dies of one, or falls silent, the others go on in a new one.

        Args:
            cases: the files.
            rounds: how often each is timed beside its plain one.

        Raises:
            RuntimeError: the engine does not start.
        """
        left = list(cases)
        while left:
            with tempfile.TemporaryDirectory(prefix="engines-") as folder:
                job = write_job(left, Path(folder), rounds=rounds)
                begun = False
                for name, answered in read_answers(self._noting_version(self._lines(job))):
                    case = left[0]
                    if name != case.name:
                        raise RuntimeError(f"{self.engine.name}: expected {case.name}, got {name}")
                    begun = answered is None
                    if answered is not None:
                        left.pop(0)
                        yield case, answered
                if left and not begun:
                    raise RuntimeError(f"{self.engine.name} does not start: {self._end}")
                if left:
                    yield left.pop(0), Answered(error=self._end)

    _end: str = ""

    def _noting_version(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith('{"version"'):
                said = json.loads(line)
                self.version = said["version"]
                if self.engine.threads > 1 and not said["isolated"]:
                    raise RuntimeError("the page is not isolated, so WebAssembly has no threads")
            yield line

    def _lines(self, job: Path) -> Iterator[str]:
        match self.engine.host:
            case Host.PYTHON:
                worker = str(WORKERS / "python_engines.py")
                yield from self._process([str(self.place), worker, self.engine.worker, str(job)])
            case Host.NODE:
                node = shutil.which("node")
                if node is None:
                    raise RuntimeError("expected node on the path, got none")
                yield from self._process([node, str(WORKERS / "node.mjs"), str(job), str(self.place)])
            case Host.BROWSER:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                if chromium is None:
                    raise RuntimeError("expected chromium or google-chrome on the path, got neither")
                profile = job.parent / "profile"
                profile.mkdir()
                page = answers_in_page(
                    job,
                    chromium=chromium,
                    package=self.place / "onnxruntime-web",
                    provider=self.engine.provider,
                    threads=self.engine.threads,
                    folder=profile,
                )
                try:
                    yield from page
                except TimeoutError as silence:
                    self._end = str(silence)
            case Host.TRITON:
                with served(job, Environment(self.place.parents[1])) as address:
                    worker = str(WORKERS / "triton_client.py")
                    yield from self._process([str(self.place), worker, str(job), address])

    def _process(self, command: Sequence[str]) -> Iterator[str]:
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                env=clean_variables() | {"OMP_NUM_THREADS": "1"},
            ) as process,
        ):
            assert process.stdout is not None  # it is a pipe
            yield from process.stdout
            code = process.wait()
            complaints.seek(0)
            last = complaints.read().strip().splitlines()[-1:]
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._end = f"the process died: {'; '.join([how, *last])}"
