"""A job's files on a real Triton server, which NVIDIA's own client asks over HTTP.

Server and environment are those of :mod:`benchmarks.hardening.serving`: the backend's C++ library is not on
PyPI, so a stand-in in Python runs the file through the onnxruntime wheel there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.engines.job import BATCHES
from benchmarks.hardening.serving.environment import REQUIREMENTS, Environment, obstacle
from benchmarks.hardening.serving.server import TritonServer
from nip_runtime.file.container import read_container
from nip_runtime.operate.triton import ServingSettings, write_repository
from nip_runtime.operate.triton.config import CONFIG_FILE, MODEL_FILE, WARMUP_FOLDER, render

_SERVER: Final = "nvidia-pytriton"
_SETTINGS: Final = ServingSettings(max_batch=max(BATCHES), delay_us=0, threads=1)


def _packages() -> tuple[str, ...]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if line and not line.startswith("#")]
    return tuple(sorted(named, key=lambda package: not package.startswith(_SERVER)))


PACKAGES: Final = _packages()
"""What the tests install for Triton, the server first."""


@contextmanager
def served(job: Path, environment: Environment) -> Iterator[str]:
    """A server for the length of the block, which loads a file of the job when it is asked to.

    Args:
        job: path of ``job.json``.
        environment: where the server's wheel is installed.

    Yields:
        The server's address.

    Raises:
        RuntimeError: the server can't run on this machine, or does not start.
    """
    why = obstacle()
    if why is not None:
        raise RuntimeError(f"Triton does not start: {why}")
    repository = job.parent / "models"
    write_models(job, repository)
    # All at once they would be a process each.
    explicit = "--model-control-mode=explicit"
    with TritonServer(environment, repository, job.parent / "server", explicit) as server:
        yield f"127.0.0.1:{server.ports.http}"


def write_models(job: Path, repository: Path) -> None:
    """Write every file of a job and its plain network to a model repository, each under its own stem."""
    for case in json.loads(job.read_text(encoding="utf-8"))["cases"]:
        defended, plain = job.parent / case["model"], job.parent / case["plain"]
        written = write_repository(defended, repository, settings=_SETTINGS, name=defended.stem)
        folder = repository / plain.stem
        # `nip triton` takes none but defended files.
        shutil.copytree(written.model.folder / WARMUP_FOLDER, folder / WARMUP_FOLDER)
        (folder / "1").mkdir()
        shutil.copy(plain, folder / "1" / MODEL_FILE)
        text = render(plain.stem, read_container(plain), _SETTINGS)
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
