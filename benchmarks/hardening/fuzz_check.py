"""One process of the fuzzer: makes files, checks them, and hands some that pass to a runner."""

from __future__ import annotations

import hashlib
import json
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self, cast

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import check_content
from tests.abuse.files.mutate import Mutator, Original
from tests.abuse.files.seal import GOLDENS
from tests.runtime.toy import graph_bytes, manifest_for, with_manifest

WALL_S: Final = 5.0
"""Longest that the check of one file may take: a thousand times what it takes."""
RUN_S: Final = 30.0
MEMORY_BYTES: Final = 3 << 30
_TOYS: Final = 12
"""Toy files for every three golden ones: a toy is checked in a third of the time."""


@dataclass
class Findings:
    """What one process came to."""

    executions: int = 0
    opened: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)


class _TooLongError(Exception):
    pass


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLongError(f"longer than {WALL_S} s")


def originals() -> list[Original]:
    """The good files that bad ones are made of."""
    model = graph_bytes()
    toy = Original(with_manifest(model, manifest_for(model)))
    return [toy] * _TOYS + [Original(path.read_bytes()) for path in sorted(GOLDENS.glob("*.onnx"))]


def fuzz(seed: int, executions: int, until: float, keep: str) -> Findings:
    """Check files until there were enough, or ``time.monotonic()`` passes ``until``.

    Args:
        seed: of the files.
        executions: how many to make.
        until: when to stop at the latest.
        keep: folder for files that something is wrong with.
    """
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))  # the runner may have more
    signal.signal(signal.SIGALRM, _too_long)
    found, mutator, folder = Findings(), Mutator(originals(), seed), Path(keep)
    with tempfile.TemporaryDirectory() as place, Runner(Path(place)) as runner:
        while found.executions < executions and time.monotonic() < until:
            content = mutator.make()
            if _check(content, found, folder):
                runner.offer(content)
            runner.poll()
        runner.drain()
        found.runs, found.deaths = runner.outcomes, [_kept(folder, c, why) for c, why in runner.bad]
    return found


def _check(content: bytes, found: Findings, keep: Path) -> bool:
    """Whether a file passes; anything but that or one ArtifactError is a failure."""
    found.executions += 1
    began = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    try:
        check_content(content, Path("fuzzed"))
    except ArtifactError as error:
        found.reasons[_reason(str(error))] += 1
        if "\n" in str(error) or "expected" not in str(error):
            found.failures.append(_kept(keep, content, f"an unclear error: {error!s:.200}"))
        return False
    except BaseException as error:  # whatever else comes is what is looked for
        found.failures.append(_kept(keep, content, f"{type(error).__name__}: {error!s:.200}"))
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        found.slowest_s = max(found.slowest_s, time.perf_counter() - began)
    found.opened += 1
    return True


def _reason(message: str) -> str:
    """The start of an error, without what differs from file to file."""
    words = message.removeprefix("fuzzed: ").split(" got ")[0].split()
    return " ".join(word for word in words[:6] if word.isalpha())


def _kept(folder: Path, content: bytes, why: str) -> str:
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.onnx"
    path.write_bytes(content)
    return f"{path}: {why}"


class Runner:
    """A process that opens and runs files, started again where one ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._running: bytes | None = None
        self._began = 0.0
        self._seen: set[int] = set()
        self.outcomes: Counter[str] = Counter()
        self.bad: list[tuple[bytes, str]] = []

    def offer(self, content: bytes) -> None:
        """Run a file, unless one is being run or it was run before."""
        if self._running is not None or hash(content) in self._seen:
            return
        self._seen.add(hash(content))
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.hardening.fuzz_run"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        path = self._folder / "file.onnx"
        path.write_bytes(content)
        self._running, self._began = content, time.monotonic()
        asked = cast(IO[str], self._process.stdin)
        asked.write(f"{path}\n")
        asked.flush()

    def poll(self, wait_s: float = 0.0) -> None:
        """Take an answer that is there."""
        if self._process is None or self._running is None:
            return
        answered = cast(IO[str], self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(answered, selectors.EVENT_READ)
            ready = selector.select(wait_s)
        if ready:
            line = answered.readline()
            self._take(json.loads(line) if line else f"died with code {self._process.wait()}", not line)
        elif time.monotonic() - self._began > RUN_S:
            self._process.kill()
            self._process.wait()
            self._take(f"took longer than {RUN_S:g} s", True)

    def _take(self, outcome: str, ended: bool) -> None:
        content, self._running = cast(bytes, self._running), None
        known = outcome in ("ran", "refused")
        self.outcomes[outcome if known else ("died" if ended else "other error")] += 1
        if not known:
            self.bad.append((content, outcome))
        if ended:
            self._process = None

    def drain(self) -> None:
        """Wait for the last answer."""
        while self._running is not None:
            self.poll(wait_s=1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
