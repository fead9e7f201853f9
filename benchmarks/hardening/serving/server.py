"""A real tritonserver in a process group of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.hardening.pinned import clean_variables
from benchmarks.hardening.serving.environment import Environment, library_folders

STANDIN: Final = Path(__file__).parent / "standin"
_STUBS: Final = "python_backend_stubs/3.11/triton_python_backend_stub"
_READY_S: Final = 60.0
_POLL_S: Final = 0.05
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where the server listens on the loopback interface."""

    http: int
    grpc: int
    metrics: int


class TritonServer:
    """Serves a model repository until the block ends; nothing of it is left then.

    Args:
        environment: where the server's wheel is installed.
        repository: the model repository.
        scratch: a folder for the backends, the log and the stand-in's record of batches.
        arguments: further options of tritonserver.
    """

    def __init__(self, environment: Environment, repository: Path, scratch: Path, *arguments: str) -> None:
        self.ports = Ports(*_free_ports(3))
        self.log = scratch / "server.log"
        self.batches = scratch / "batches.txt"
        scratch.mkdir(parents=True, exist_ok=True)
        self._command = [
            str(environment.triton / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={_backends(environment, scratch / 'backends')}",
            *(f"--{kind}-address={_HOST}" for kind in ("http", "grpc", "metrics")),
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            "--allow-gpu-metrics=false",
            *arguments,
        ]
        variables = clean_variables()
        self._variables = variables | {
            # Through the first python3 of the path the python backend finds its packages.
            "PATH": os.pathsep.join([str(environment.python.parent), variables.get("PATH", "")]),
            "LD_LIBRARY_PATH": library_folders(environment),
            "STANDIN_LOG": str(self.batches),
            "OMP_NUM_THREADS": "1",
        }

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()
        if error is not None:
            error.add_note(f"the server's log:\n{self.log_text()}")

    @property
    def group(self) -> int:
        """Id of the server's process group."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal: SIGTERM is what Docker and Kubernetes stop it with."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait until the server has gone; its exit code."""
        return self._process.wait(timeout_s)

    def get(self, path: str, *, port: int | None = None) -> str:
        """Body of an HTTP answer, from the inference port unless another is named."""
        url = f"http://{_HOST}:{self.ports.http if port is None else port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
        return body.decode()

    def log_text(self) -> str:
        """What the server has written so far."""
        return self.log.read_text(errors="replace")

    def joined(self) -> list[list[str]]:
        """Request ids of every batch that ran, "-" for requests without one, such as warm-up."""
        if not self.batches.exists():
            return []
        return [line.split() for line in self.batches.read_text().splitlines()]

    def _await_ready(self) -> None:
        end = time.monotonic() + _READY_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.get("/v2/health/ready")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(_POLL_S)
        raise RuntimeError(f"tritonserver did not get ready; its log:\n{self.log_text()}")

    def _kill(self) -> None:
        """The server, and the processes of its backends."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _backends(environment: Environment, folder: Path) -> Path:
    """The wheel's python backend, with its helper process beside it, and the stand-in named onnxruntime."""
    if not folder.exists():
        shutil.copytree(STANDIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
        python = folder / "python"
        shutil.copytree(environment.triton / "backends" / "python", python)
        shutil.copy(environment.triton / _STUBS, python)
    return folder


def _free_ports(count: int) -> list[int]:
    """All held open until the last is found, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((_HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
