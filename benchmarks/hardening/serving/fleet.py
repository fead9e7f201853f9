"""Clients of a server in a process of their own, and what became of their requests."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.hardening.pinned import clean_variables
from benchmarks.hardening.serving.environment import Environment

CLIENT: Final = Path(__file__).parent / "client.py"
_ANSWERED: Final = "answered"
_STOPPING: Final = ("Server is stopping, scheduler for model has stopped", "has no available versions")
_NO_CONNECTION: Final = ("Connection refused", "failed to connect")


class Protocol(StrEnum):
    """How clients speak to the server."""

    HTTP = "http"
    GRPC = "grpc"


class Kind(IntEnum):
    """What a client sends."""

    BENIGN = 0
    ATTACKED = 1
    BROKEN = 2
    """NaN, Inf and values far out of bounds, which no client should send."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the clients of one process do; see ``client.Load``."""

    protocol: Protocol
    address: str
    model: str
    arrays: str
    prefix: str = ""
    clients: int = 16
    seconds: float
    most_rows: int = 4
    seed: int = 0
    watch: bool = False
    max_batch: int = 64


@dataclass(frozen=True)
class Answered:
    """One request and what became of it; see ``client.Request``."""

    id: str
    rows: tuple[int, ...]
    sent: float
    done: float
    outcome: str
    wrong: tuple[int, ...]

    @property
    def is_answered(self) -> bool:
        """It came back with outputs."""
        return self.outcome == _ANSWERED

    @property
    def is_refused(self) -> bool:
        """The server said no, or took no connection: whoever sent it knows, and can send it elsewhere."""
        return any(text in self.outcome for text in (*_STOPPING, *_NO_CONNECTION))


class Fleet:
    """A process with clients, which send from here on; the end of a with-block ends it."""

    def __init__(self, environment: Environment, plan: Plan, scratch: Path) -> None:
        path = scratch / f"plan-{plan.prefix}{plan.protocol}.json"
        path.write_text(json.dumps(asdict(plan)))
        self._process = subprocess.Popen(
            [environment.python, CLIENT, "load", path],
            env=clean_variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        if first != "begun\n":
            self._process.kill()
            raise RuntimeError(f"the clients did not begin: {first}{self._process.communicate()[1]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.wait()

    def finish(self, timeout_s: float) -> list[Answered]:
        """Wait for the clients; every request of theirs."""
        printed, errors = self._process.communicate(timeout=timeout_s)
        if self._process.returncode != 0:
            raise RuntimeError(f"the clients failed:\n{errors}")
        return [
            Answered(**{**each, "rows": tuple(each["rows"]), "wrong": tuple(each["wrong"])})
            for each in json.loads(printed)
        ]


def ask(environment: Environment, command: str, *arguments: Path) -> Any:
    """What another command of ``client.py`` prints."""
    done = subprocess.run(
        [environment.python, CLIENT, command, *arguments],
        env=clean_variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"client.py {command} failed:\n{done.stderr}")
    return json.loads(done.stdout)
