"""Counts what became of requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.hardening.serving.fleet import Answered
from benchmarks.hardening.serving.server import TritonServer


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
