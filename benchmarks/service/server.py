"""The service as a process of its own, and what its operator sees of it: metrics and the log."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

STARTING_S: Final = 120.0
ENDING_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that answers.

    Attributes:
        port: of the labels.
        metrics_port: of the metrics.
        log: file that it logs to.
    """

    port: int
    metrics_port: int
    log: Path

    def metrics(self) -> dict[str, float]:
        """Every sample's value by its name as it stands in the text, the label `model` left out."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = re.sub(r',?model="[^"]*"', "", name).replace("{}", "").replace("{,", "{")
                found[name] = float(value)
        return found

    def warnings(self) -> dict[str, Any]:
        """Rows until the first warning of drift, with its direction, and of near-duplicates."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        drift = re.search(r"WARNING \S+drift: flag rate (\w+) .*after (\d+) rows", text)
        burst = re.search(r"WARNING \S+bursts: .*after (\d+) rows", text)
        return {
            "drift": None if drift is None else {"direction": drift[1], "rows": int(drift[2])},
            "burst_rows": None if burst is None else int(burst[1]),
        }


@contextmanager
def serving(model: Path, log: Path, *arguments: str) -> Iterator[Running]:
    """Start the service, and end it with SIGTERM.

    Args:
        model: the file.
        log: what it logs is written there.
        arguments: further ones of its command line.

    Raises:
        RuntimeError: it does not start, or does not end well.
    """
    metrics_port = _free_port()
    command = [sys.executable, "-m", "examples.service", str(model), "--port", "0"]
    command += ["--metrics-port", str(metrics_port), *arguments]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True)
        try:
            assert process.stdout is not None
            said = re.search(r":(\d+)/label", process.stdout.readline())
            if said is None:
                raise RuntimeError(f"the service did not start: {log.read_text(encoding='utf-8')}")
            running = Running(port=int(said[1]), metrics_port=metrics_port, log=log)
            _wait(running.port)
            yield running
            process.send_signal(signal.SIGTERM)
            if (code := process.wait(ENDING_S)) != 0:
                raise RuntimeError(f"the service ended with {code}: {log.read_text(encoding='utf-8')}")
        finally:
            process.kill()
            process.communicate()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def _wait(port: int) -> None:
    """Until it answers /health; its socket listens before that."""
    until = time.monotonic() + STARTING_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=STARTING_S):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
