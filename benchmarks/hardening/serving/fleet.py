"""Sends a server what several clients send at once, and counts what became of it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.hardening.serving.environment import Environment, clean_variables
from benchmarks.hardening.serving.server import TritonServer

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
    """A process with clients, sending since the constructor returned."""

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

    def finish(self, timeout_s: float) -> list[Answered]:
        """Wait for the clients; every request of theirs."""
        try:
            printed, errors = self._process.communicate(timeout=timeout_s)
        finally:
            self._process.kill()
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


def write_arrays(
    model: Path, images: NDArray[np.float32], kind: NDArray[np.int64], target: Path
) -> dict[str, NDArray[Any]]:
    """Write what clients send beside what onnxruntime, asked directly and row by row, answers."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    single = [session.run(names, {session.get_inputs()[0].name: image[None]}) for image in images]
    # Triton shows a value per row as (N, 1).
    expected = {
        name: np.concatenate([answers[place] for answers in single]).reshape(len(images), -1)
        for place, name in enumerate(names)
    }
    np.savez(target, **{"images": images, "kind": kind, **expected})  # type: ignore[arg-type]  # numpy's stub
    return expected


def broken_rows(shape: Sequence[int]) -> NDArray[np.float32]:
    """Rows that the runtime would refuse and the server lets through."""
    rows = np.full((5, *shape), 0.5, np.float32)
    rows[0] = np.nan
    rows[1].flat[7] = np.nan
    rows[2].flat[7] = np.inf
    rows[3] = 1e30
    rows[4] = -3
    return rows


@dataclass(frozen=True)
class Batches:
    """What the stand-in says about the batches that it ran for these requests."""

    requests: int
    rows: int
    batches: int
    joined: int
    mixed: int

    @classmethod
    def of(cls, server: TritonServer, requests: Sequence[Answered], kind: NDArray[np.int64]) -> Batches:
        """Count; ``joined`` batches hold several requests, ``mixed`` ones more than one kind."""
        known = {request.id: request for request in requests}
        ran = [[known[name] for name in batch if name in known] for batch in server.joined()]
        ran = [batch for batch in ran if batch]
        return cls(
            requests=sum(map(len, ran)),
            rows=sum(len(request.rows) for batch in ran for request in batch),
            batches=len(ran),
            joined=sum(len(batch) > 1 for batch in ran),
            mixed=sum(len({int(kind[request.rows[0]]) for request in batch}) > 1 for batch in ran),
        )


@dataclass(frozen=True)
class Fate:
    """What became of requests while a server stopped.

    ``unanswered`` ran or not, but got neither outputs nor a refusal; ``ran_unanswered`` of them ran.
    ``in_flight`` were under way when the signal came.
    """

    sent: int
    answered: int
    refused: int
    unanswered: int
    ran_unanswered: int
    in_flight: int
    wrong_rows: int

    @classmethod
    def of(cls, server: TritonServer, requests: Sequence[Answered], signalled: float) -> Fate:
        """Count."""
        ran = {name for batch in server.joined() for name in batch}
        without = [request for request in requests if not request.is_answered]
        return cls(
            sent=len(requests),
            answered=len(requests) - len(without),
            refused=sum(request.is_refused and request.id not in ran for request in without),
            unanswered=sum(not request.is_refused or request.id in ran for request in without),
            ran_unanswered=sum(request.id in ran for request in without),
            in_flight=sum(request.sent < signalled < request.done for request in requests),
            wrong_rows=sum(len(request.wrong) for request in requests),
        )


def outcomes(requests: Sequence[Answered]) -> Counter[str]:
    """How often each outcome came."""
    return Counter(request.outcome for request in requests)
